"""What README, CONTRIBUTING and docs/design.md say is so, and what they tell people to type works."""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.main import get_command

from condense.cli.app import app
from condense.data import ImageDataset
from condense.distillation import distill
from condense.distillation.registry import build, methods, registered, wrappers
from condense.federated.algorithms import ALGORITHMS
from condense.networks import TooSmall
from condense.networks.plugins import find_network_error
from condense.protocol import Stage
from condense.protocols import HARD_V1, PROTOCOLS

ROOT = Path(__file__).parents[1]
README, CONTRIBUTING, DESIGN = ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "design.md"
PAGES = [README, CONTRIBUTING, DESIGN, ROOT / "docs" / "cluster.md"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Every command line of condense's in the pages, without what follows it."""
    found = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        found += re.findall(r"^    (?:.*/bin/)?(condense .*?)(?:  +#.*)?$", text, flags=re.MULTILINE)
        found += re.findall(r"`(condense [a-z]+(?: [^`]*)?)`", text)
    return found


def test_the_pages_show_commands_and_blocks_at_all() -> None:
    assert len(commands()) > 10
    assert [len(blocks(page, "python")) for page in PAGES] == [3, 2, 0, 0]


@pytest.mark.parametrize("command", commands())
def test_every_command_that_is_shown_has_the_verb_and_options_that_it_uses(command: str) -> None:
    _, verb, *rest = command.split()
    known = get_command(app).commands  # type: ignore[attr-defined]
    assert verb in known
    options = {option for parameter in known[verb].params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= options | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text())
    generated = {"leaderboard.md"}
    assert [link for link in links if link not in generated and not (page.parent / link).exists()] == []


def test_the_readme_names_every_method_and_wrapper() -> None:
    known = {**methods("graphs"), **methods(), **{f"+{name}": cls for name, cls in wrappers().items()}}
    ours = [name for name, cls in known.items() if cls.__module__.startswith("condense.methods.")]
    named = re.findall(r"^\| `(\+?\w+)` \|", README.read_text(), flags=re.MULTILINE)
    assert sorted(named) == sorted([*ours, *ALGORITHMS])


def test_the_readmes_ways_to_read_a_set_work_inside_its_folder(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made, run = distill(build("random_subset", "toy", 1)[0], toy, ipc=1, cache=tmp_path / "cache")
    made.save(tmp_path / "set")
    monkeypatch.chdir(tmp_path / "set")
    for block in blocks(README, "python")[1:]:
        exec(block, {})
    assert "(3, 1, 8, 8)" in capsys.readouterr().out


def test_the_readmes_script_runs_from_a_method_to_a_table(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = blocks(README, "python")[0]
    few = script.replace("iterations=100", "iterations=2")
    assert few != script
    monkeypatch.chdir(tmp_path)
    short = replace(HARD_V1, stages=(Stage(epochs=2),))
    monkeypatch.setattr("condense.protocols.PROTOCOLS", {**PROTOCOLS, short.name: short})
    exec(few, {})
    out = capsys.readouterr().out
    assert "convnet-w32" in out and "accuracy" in out and "random_subset" in out


def test_the_tree_lists_the_rooms_that_there_are() -> None:
    rooms = re.findall(r"^ {6}(\w+(?:/|\.py))", DESIGN.read_text(), flags=re.MULTILINE)
    inner = re.findall(r"^ {8}(\w+/)(?:  (\w+/))?", DESIGN.read_text(), flags=re.MULTILINE)
    assert sorted(rooms) == sorted({*parts(ROOT / "condense")} - {"__main__.py"})
    assert sorted(name for names in inner for name in names if name) == [
        name for name in parts(ROOT / "condense" / "distillation") if name.endswith("/")
    ]


def parts(folder: Path) -> list[str]:
    """The packages, with a slash, and the modules of a folder."""
    packages = (f"{path.parent.name}/" for path in folder.glob("*/__init__.py"))
    return sorted([*packages, *(path.name for path in folder.glob("*.py"))])


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package of CONTRIBUTING, as if it were installed."""
    (tmp_path / "part_means.py").write_text(blocks(CONTRIBUTING, "python")[0])
    (entry,) = re.findall(r'"condense.methods"\]\n(.+)\n', blocks(CONTRIBUTING, "toml")[0])
    info = tmp_path / "part_means-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: part-means\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[condense.methods]\n{entry.replace(chr(34), '')}\n")
    monkeypatch.setattr("condense.distillation.registry._registered", dict(registered()))
    monkeypatch.syspath_prepend(tmp_path)
    registered.cache_clear()
    yield
    registered.cache_clear()
    sys.modules.pop("part_means", None)


def test_the_method_of_ones_own_package_is_found_and_makes_a_set(
    plugin: None, toy: ImageDataset, tmp_path: Path
) -> None:
    method, _ = build("part_means", "toy", 2, {"at_most": "5"})
    made, _ = distill(method, toy, ipc=2, cache=tmp_path / "cache")
    assert made.find_inconsistency() is None and len(made) == 6
    assert made.content["method"]["chain"][0]["config"]["at_most"] == 5

    everything, _ = distill(build("part_means", "toy", 1)[0], toy, ipc=1, cache=tmp_path / "cache")
    space = toy.space("normalized")
    images = toy.train.in_space(space).images
    for label in range(3):
        mean = images[toy.train.of_class(label)].mean(0)
        assert (everything.images[label] - mean).abs().max() < 1e-5


def test_the_network_of_ones_own_package_is_a_network_that_condense_can_train() -> None:
    room: dict[str, Any] = {}
    exec(blocks(CONTRIBUTING, "python")[1], room)
    with torch.device("meta"):
        network = room["two_convs"]((1, 8, 8), 3)
        assert find_network_error(network, (1, 8, 8), 3) is None
        with pytest.raises(TooSmall):
            room["two_convs"]((1, 2, 2), 3)
