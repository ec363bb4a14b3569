"""Networks of other packages, as if these were installed."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from condense import protocols
from condense.cli.app import app
from condense.distillation.registry import build
from condense.errors import Refused
from condense.evaluation.kinds import KINDS
from condense.files import safe_name
from condense.networks import Network, build_network, full_name, initialise_, network_names
from condense.networks.plugins import find_network_error, plugins
from condense.networks.registry import _others, smallest_side
from condense.protocol import Protocol, Stage
from condense.records.folder import read_records
from condense.resources import Machine
from condense.runner.cell import CellSpec, Paths
from condense.runner.job import resolve
from condense.runner.run import run_cell
from condense.teachers.training import teacher_training

SOURCE = """
from torch import nn
from condense.plugin import Network, TooSmall

def tiny(shape, num_classes):
    c, h, w = shape
    if h < 4:
        raise TooSmall
    body = nn.Sequential(nn.Conv2d(c, 4, 3, padding=1), nn.GroupNorm(4, 4), nn.ReLU(), nn.AvgPool2d(2))
    return Network(body, 4 * (h // 2) * (w // 2), num_classes)

class Wide(Network):
    def __init__(self, shape, num_classes):
        super().__init__(nn.Sequential(nn.Flatten()), shape[0] * shape[1] * shape[2], num_classes)

def broken(shape, num_classes):
    raise ValueError("no such luck")

def foreign(shape, num_classes):
    return nn.Linear(2, 2)

number = 3
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """A function that installs a package with some networks, for the test alone."""

    def forget() -> None:
        plugins.cache_clear()
        _others.cache_clear()

    def install_(package: str, version: str, **names: str) -> None:
        info = tmp_path / package / f"{package.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        module = f"{package.replace('-', '_')}_networks"
        (tmp_path / package / f"{module}.py").write_text(SOURCE)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        lines = [f"{name} = {module}:{what}" for name, what in names.items()]
        (info / "entry_points.txt").write_text("\n".join(["[condense.networks]", *lines]) + "\n")
        monkeypatch.syspath_prepend(tmp_path / package)
        forget()

    before = set(sys.modules)
    forget()
    yield install_
    monkeypatch.undo()
    forget()
    for name in set(sys.modules) - before:
        if name.endswith("_networks"):
            del sys.modules[name]


def test_a_network_of_another_package_is_built_by_its_short_and_its_full_name(install: Install) -> None:
    install("acme-nets", "1.2", tiny="tiny", wide="Wide")
    assert network_names()[-2:] == ("tiny@acme-nets-1.2", "wide@acme-nets-1.2")
    nets = [
        build_network(name, (1, 8, 8), 3, torch.Generator().manual_seed(5))
        for name in ("tiny", "tiny@acme-nets-1.2", "tiny")
    ]
    assert all(
        torch.equal(a, b)
        for net in nets[1:]
        for a, b in zip(net.state_dict().values(), nets[0].state_dict().values(), strict=True)
    )
    assert nets[0](torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    assert build_network("wide", (3, 4, 4), 2, torch.Generator()).feature_dim == 48
    assert smallest_side("tiny") == 4
    with pytest.raises(Refused, match="tiny needs images of at least 4 x 4 pixels; these are 2 x 2"):
        build_network("tiny", (1, 2, 2), 3, torch.Generator())


def test_keys_and_records_hold_the_full_name(install: Install, home: Path, tmp_path: Path) -> None:
    full = "tiny@acme-nets-1.2"
    install("acme-nets", "1.2", tiny="tiny")
    assert full_name("tiny") == full and safe_name(full) == full
    assert full_name("convnet") == "convnet" and full_name("nobody") == "nobody"
    method, _ = build("dm", "digits", 1, {"network": "tiny"})
    assert method.chain()[0]["config"]["network"] == full  # type: ignore[index]
    wrapped, _ = build("dm+fyi", "digits", 1, {"network": "tiny"})
    assert wrapped.settings()["network"] == full
    several, _ = build("infer", "digits", 2, {"networks": "tiny+convnet-bn", "teacher": "trained"})
    assert several.config()["networks"] == f"{full}+convnet-bn"
    assert teacher_training("tiny").network == full
    job = resolve(CellSpec(student="tiny"), Paths(out=tmp_path / "sets", results=tmp_path / "results"))
    assert [setup.student for setup in job.setups] == [full]
    graphs: Any = KINDS["graphs"]
    with pytest.raises(Refused, match="this is a network for images; mutag holds graphs"):
        graphs.check_student("tiny", resolve(CellSpec(dataset="mutag"), Paths(), evaluated=False).dataset)


def test_another_package_or_version_is_another_network(install: Install) -> None:
    install("acme-nets", "1.3+local", tiny="tiny")
    assert full_name("tiny") == "tiny@acme-nets-1.3_local"
    with pytest.raises(Refused) as refused:
        build_network("tiny@acme-nets-1.2", (1, 8, 8), 3, torch.Generator())
    assert str(refused.value) == (
        "the network 'tiny' of acme-nets-1.2 is not installed here; tiny@acme-nets-1.3_local is"
    )
    install("other-nets", "1.0", tiny="tiny")
    with pytest.raises(Refused, match="two networks are called 'tiny': those of .* and of .*; uninstall one"):
        network_names()


def test_a_package_cannot_take_the_name_of_a_network_of_condense(install: Install) -> None:
    install("acme-nets", "1.2", convnet="tiny")
    with pytest.raises(Refused, match="convnet@acme-nets-1.2 has the name of a network of condense"):
        network_names()


def test_what_is_no_builder_of_networks_is_refused_in_a_sentence(install: Install) -> None:
    install("acme-nets", "1", broken="broken", foreign="foreign", number="number", gone="nothing")
    for name, sentence in (
        ("broken", r"the network broken@acme-nets-1 cannot be built for images of \(1, 8, 8\): no such luck"),
        ("foreign", "the network foreign@acme-nets-1: it is a Linear, not a condense Network"),
        ("number", "the entry point 'number' of acme_nets_networks:number is not a builder of networks"),
        ("gone", "cannot import the network 'gone' from acme_nets_networks:nothing"),
        ("gona", "unknown network 'gona'; nearest: gone"),
    ):
        with pytest.raises(Refused, match=sentence):
            build_network(name, (1, 8, 8), 3, torch.Generator())


class Positions(nn.Module):
    """A learned value for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.empty(1, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.values


class Drawn(Network):
    def draw_others_(self, generator: torch.Generator) -> None:
        for module in self.body:
            if isinstance(module, Positions):
                module.values.copy_(torch.randn(1, 8, 8, generator=generator))


def test_networks_whose_results_no_seed_could_repeat_are_refused() -> None:
    def of(*layers: nn.Module, width: int = 64, cls: type[Network] = Network) -> str | None:
        with torch.device("meta"):
            return find_network_error(cls(nn.Sequential(*layers), width, 3).to("meta"), (1, 8, 8), 3)

    assert of(nn.Flatten()) is None and of(nn.Dropout(0.0), nn.Flatten()) is None
    assert "body.0 drops values by torch's global generator" in str(of(nn.Dropout(0.5), nn.Flatten()))
    assert "body.1 is a BatchNorm1d" in str(of(nn.Flatten(), nn.BatchNorm1d(64)))
    assert "nothing draws body.0.values" in str(of(Positions(), nn.Flatten()))
    assert "give features of the shape (2, 64), not (2, 7)" in str(of(nn.Flatten(), width=7))
    assert of(Positions(), nn.Flatten(), cls=Drawn) is None


def test_other_parameters_are_drawn_by_the_network_from_the_same_generator() -> None:
    net = Drawn(nn.Sequential(Positions(), nn.Flatten()), 64, 3)
    seen = []
    for seed in (1, 1, 2):
        initialise_(net, torch.Generator().manual_seed(seed))
        seen.append(net.state_dict()["body.0.values"].clone())
    assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2])


def test_a_student_of_another_package_is_listed_trained_and_recorded(
    install: Install, home: Path, toy_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, paths = "tiny@acme-nets-1.2", Paths(out=tmp_path / "sets", results=tmp_path / "results")
    install("acme-nets", "1.2", tiny="tiny")
    listed = CliRunner().invoke(app, ["list"])
    assert f"network   {full}\n" in listed.output
    tiny = Protocol(name="tiny", stages=(Stage(epochs=2),), seeds=1)
    monkeypatch.setattr(protocols, "PROTOCOLS", {**protocols.PROTOCOLS, "tiny": tiny})
    cell = CellSpec(
        method="random_subset",
        dataset=str(toy_file),
        student="tiny",
        protocol="tiny",
        seeds=(0,),
        eval_seeds=1,
    )
    (record,) = run_cell(cell, paths, Machine())
    assert record.student == full and f"-{full}-" in record.path(paths.results).name
    assert read_records(paths.results) == run_cell(cell, paths, Machine()) == [record]
