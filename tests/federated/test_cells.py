"""Federated cells: what is refused, what is recorded, and how the board shows it."""

import importlib.util
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from condense.board.federated import federated_summary, federated_tables
from condense.board.render import table_for
from condense.board.tables import gather
from condense.data import ImageDataset
from condense.errors import Refused
from condense.federated.algorithms import ALGORITHMS, FedLGD, chain
from condense.federated.participant import Participant
from condense.protocols import FEDERATED_SHORT_V1, FEDERATED_V1
from condense.records.frame import frame
from condense.records.published import lookup
from condense.records.record import (
    ClientScore,
    ClientUsed,
    DataUsed,
    Entry,
    FederationUsed,
    MethodUsed,
    Record,
    read_record,
)
from condense.resources import Machine
from condense.runner.cell import CellSpec, Paths
from condense.runner.federation import blank_record, resolve_federation
from condense.runner.run import distil_cell, run_cell
from tests.board.markdown import page, rows
from tests.source_code import name_of, sources

Make = Callable[..., Record]
LEARNED = {"dm.iterations": 2, "global_ipc": 1, "global_steps": 1, "local_steps": 1}


@pytest.fixture
def flower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower seems to be installed; only the simulation would notice that it is not."""
    monkeypatch.setattr("condense.runner.federation.require_flower", lambda: None)


def cell(toy_file: Path, **changes: Any) -> CellSpec:
    given: dict[str, Any] = {"method": "random_subset+fedavg", "dataset": toy_file, "ipc": 1}
    given |= {"clients": "dirichlet:3:1", "protocol": "federated-short-v1", "student": "convnet-w32"}
    return CellSpec(**(given | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clients": "dirichlet:3:0"}, "alpha"),
        ({"clients": "dirichlet:1000:1"}, "images for 1000 clients"),
        ({"clients": "domains"}, "is one dataset"),
        ({"method": "dm"}, "clients have a federated algorithm"),
        ({"method": "dm+fedlgdd"}, "clients have a federated algorithm"),
        ({"method": "fkd+fedavg"}, "stands behind a method"),
        ({"method": "random_subset+fkd+fedavg"}, "no plain sets of images"),
        ({"method": "rs2+fedavg"}, "no plain sets of images"),
        ({"method": "mirage+fedavg"}, "mirage distils graphs"),
        ({"dataset": "mutag"}, "the clients of a federation have images"),
        ({"params": {"weight": 1}}, "unknown parameter of fedavg"),
        ({"params": {"dm.iterations": 1}}, "unknown link of random_subset.fedavg"),
        ({"method": "fedlgd", "params": {"every": 0}}, "every of fedlgd must be at least 1"),
        ({"method": "fedlgd", "params": {"weight": -1}}, "weight of fedlgd must be at least 0"),
        ({"method": "fedprox", "params": {"mu": "many"}}, "fedprox's mu is of type float"),
        ({"student": "convnet-bn"}, "batch norms"),
        ({"student": "nothing"}, "unknown network"),
        ({"protocol": "hard-v1"}, "hard-v1 judges no federations"),
        ({"protocol": "nothing"}, "unknown protocol"),
        ({"eval_seeds": 9}, "the seeds 0 to 2"),
        ({"ipc": 0}, "client 0: at least one image per class"),
        ({"ipc": 500}, "client 0: class"),
        ({"imbalanced": "keep"}, "a federation has no such setting"),
        ({"targets": ("digits",)}, "a federation has no such setting"),
        ({"seeds": (0, 1)}, "one seed for the clients' distillations"),
        ({"seeds": (-1,)}, "a seed is a whole number"),
    ],
)
def test_what_makes_no_federation_is_refused_before_any_work(
    changes: dict[str, Any], words: str, toy_file: Path, tmp_path: Path, home: Path, flower: None
) -> None:
    paths = Paths(out=tmp_path / "sets", results=tmp_path / "results")
    with pytest.raises(Refused, match=words) as refused:
        run_cell(cell(toy_file, **changes), paths, Machine())
    assert str(refused.value).count("\n") == 0
    assert not paths.out.exists() and not paths.results.exists()


def test_a_missing_flower_is_named_with_the_way_to_install_it(
    toy_file: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Refused, match=r"flwr is not installed: pip install -e '\.\[federated\]'"):
        resolve_federation(cell(toy_file), Paths(out=tmp_path / "a", results=tmp_path / "b"))


def test_nothing_imports_flower_before_a_federation_starts() -> None:
    at_the_top = re.compile(r"^(from|import) (flwr|ray)\b", flags=re.MULTILINE)
    found = {name_of(path) for path in sources("condense") if at_the_top.search(path.read_text())}
    assert found == {"condense/federated/messages.py", "condense/federated/strategies.py"}
    those = re.compile(r"^(from|import) condense\.federated\.(messages|strategies)\b", flags=re.MULTILINE)
    inside = {name_of(path) for path in sources("condense") if those.search(path.read_text())}
    assert inside == {"condense/federated/strategies.py"}


def test_a_federation_makes_no_set_of_its_own(toy_file: Path, home: Path) -> None:
    with pytest.raises(Refused, match="no set is made"):
        list(distil_cell(cell(toy_file), Paths(), Machine()))


def test_other_protocols_do_not_judge_sets_by_rounds(toy_file: Path, tmp_path: Path, home: Path) -> None:
    plain = CellSpec(method="random_subset", dataset=toy_file, protocol="federated-v1")
    with pytest.raises(Refused, match="federated-v1 judges federations"):
        run_cell(plain, Paths(out=tmp_path / "a", results=tmp_path / "b"), Machine())


def test_fields_go_to_the_algorithm_and_with_its_name_to_the_method_in_front() -> None:
    found = chain(
        "fedlgd", "toy", 1, {"weight": "10", "dm.iterations": "7", "fedlgd.every": 3}, "convnet-w32"
    )
    assert found.title == "fedlgd" and found.local.name == "dm"
    assert found.algorithm == FedLGD(weight=10.0, every=3)
    told = {key: found.local.config()[key] for key in ("iterations", "init", "lr_images", "network")}
    assert told == {"iterations": 7, "init": "normal", "lr_images": 1.0, "network": "convnet-w32"}
    assert (
        chain("dm+fedlgd", "toy", 1, {}, "convnet").links()
        == chain("fedlgd", "toy", 1, {}, "convnet").links()
    )


def test_another_method_in_front_of_an_algorithm_stands_in_its_name() -> None:
    found = chain("random_subset+scaffold", "toy", 1, {}, "convnet")
    assert found.title == "random_subset+scaffold"
    assert [link["name"] for link in found.links()] == ["random_subset", "scaffold"]


def test_fedlgd_refreshes_every_fifth_round_of_the_first_half() -> None:
    refreshes = [number for number in range(100) if FedLGD().refreshes_in(number)]
    assert refreshes == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45]


def test_every_algorithm_says_what_it_is_and_where_it_is_published() -> None:
    for name, cls in ALGORITHMS.items():
        assert cls.name == name and cls.__doc__ and "arxiv.org" in cls.__doc__


def keys(toy_file: Path, tmp_path: Path, **changes: Any) -> str:
    paths = Paths(out=tmp_path / "sets", results=tmp_path / "results")
    return blank_record(resolve_federation(cell(toy_file, **changes), paths)).key


def test_split_method_images_and_seed_enter_the_run_key(
    toy_file: Path, tmp_path: Path, home: Path, flower: None
) -> None:
    changes: Sequence[dict[str, Any]] = [
        {}, {"clients": "dirichlet:3:1:1"}, {"clients": "dirichlet:3:2"}, {"clients": "variants:plain,faded"},
        {"method": "fedavg"}, {"method": "random_subset+fednova"}, {"method": "fedavg", "ipc": 2},
        {"seeds": (1,)}, {"classes": ("0", "1")},
    ]  # fmt: skip
    found = [keys(toy_file, tmp_path, **change) for change in changes]
    assert len(set(found)) == len(found) and found[0] == keys(toy_file, tmp_path)


def test_domains_come_from_names_with_a_plus_or_from_a_folder(
    toy: ImageDataset, toy_file: Path, tmp_path: Path, home: Path, flower: None
) -> None:
    folder = tmp_path / "DIGITS"
    folder.mkdir()
    arrays = dict(np.load(toy_file))
    for name, flip in (("one", False), ("two", True)):
        images = {key: 255 - value if flip and "images" in key else value for key, value in arrays.items()}
        np.savez(folder / f"{name}.npz", **images)
    paths = Paths(out=tmp_path / "sets", results=tmp_path / "results")
    inside = resolve_federation(cell(folder, clients="domains"), paths).federation
    assert [client.name for client in inside.clients] == ["one", "two"]
    assert inside.spec.name == "DIGITS{domains}"
    listed = f"{folder / 'one.npz'}+{folder / 'two.npz'}"
    named = resolve_federation(cell(toy_file, dataset=listed, clients="domains"), paths).federation
    assert named.train_hash == inside.train_hash and named.spec.name == "one+two{domains}"
    (folder / "two.npz").unlink()
    with pytest.raises(Refused, match="holds 1 folders or .npz files"):
        resolve_federation(cell(folder, clients="domains"), paths)


def federated(method: str = "fedlgd", base: float = 80.0, seeds: int = 3, lost: int = 0) -> Record:
    """A record of a federation of two clients."""
    client = ClientUsed(
        name="plain", train_hash="1" * 64, test_hash="2" * 64, train=(3, 0), test=(1, 1), set="3" * 64,
        seconds=1.5,
    )  # fmt: skip
    entries = tuple(
        Entry(
            seed=seed, accuracy=base + seed, seconds=9.0, device="cpu", threads=1, versions={"torch": "2"},
            time="2026-01-01T00:00:00+00:00", up_bytes=1_000_000, down_bytes=2_500_000, lost=lost,
            clients=(
                ClientScore(name="plain", accuracy=base + seed + 5),
                ClientScore(name="inverted", accuracy=base + seed - 5),
            ),
        )
        for seed in range(seeds)
    )  # fmt: skip
    link: Any = {"name": method, "version": 1, "config": {}}
    return Record(
        kind="federated", key=f"{method}-key", ipc=5, seed=0, set=None, space="normalized", student="convnet",
        dataset=DataUsed(name="mnist{variants}", kind="images", train_hash="a" * 64, test_hash="b" * 64),
        method=MethodUsed(name=method, chain=(link,)), protocol=FEDERATED_V1, entries=entries,
        federation=FederationUsed(
            split="variants", draws=None, clients=(client, replace(client, name="inverted"))
        ),
    )  # fmt: skip


def test_a_federated_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    record = federated()
    path = record.write(tmp_path)
    assert read_record(path) == record
    assert path.name.startswith("fedlgd-ipc5-seed0-federated-v1-convnet-")


def test_other_records_have_none_of_the_fields_of_federations(made: Make) -> None:
    told = made().to_json()
    assert "federation" not in told
    assert not {"clients", "up_bytes", "down_bytes", "lost"} & set(told["entries"][0])  # type: ignore[index]


def test_a_federated_record_has_clients_and_no_other_has(made: Make) -> None:
    told = federated().to_json()
    for changed in ({**told, "kind": "reference"}, {**told, "federation": None}):
        with pytest.raises(Refused, match="federation"):
            Record.from_json(changed)


def test_a_table_has_a_row_for_each_algorithm_and_a_column_for_each_client() -> None:
    entries = frame([federated("fedavg", 70.0, lost=2), federated("fedlgd", 80.0)])
    (table,) = federated_tables(entries)
    assert [name for name, _ in table.rows] == ["fedlgd", "fedavg"]
    found = rows(table.text([]))
    assert found["method"] == ["mean", "plain", "inverted", "seeds", "sent up", "sent down", "lost"]
    assert found["fedavg"] == ["71.0 ± 2.5", "76.0", "66.0", "3", "1 MB", "2.5 MB", "6"]
    assert table.key.title == f"federated-v1 ({FEDERATED_V1.hash[:8]}), convnet, IPC 5"


def test_results_of_other_protocols_stand_in_other_tables() -> None:
    other = replace(federated("fedavg"), protocol=FEDERATED_SHORT_V1)
    assert len(federated_tables(frame([federated(), other]))) == 2


def test_the_board_shows_federations_beside_the_tables_of_sets(made: Make) -> None:
    plain, both = frame([made()]), frame([made(), federated()])
    assert [table.key for table in gather(both)] == [table.key for table in gather(plain)]
    text = page(both)
    assert text.startswith(page(plain))
    assert (
        "### Federations" in text and "\n## mnist{variants}\n" in text and "- fedlgd, IPC 5, seed 0" in text
    )
    assert "## Federations" not in page(plain)


def test_the_terminal_shows_the_table_of_a_federation_with_its_legend() -> None:
    shown = table_for(frame([federated()]), "mnist{variants}", "federated-v1", "convnet", "normalized")
    assert "| fedlgd " in shown and "sent up/down" in shown


def test_the_summary_has_a_row_for_each_algorithm(made: Make) -> None:
    assert federated_summary(frame([made()])) == ""
    told = federated_summary(frame([federated()]))
    assert "| fedlgd | 81.0 ± 2.5" in told and "- mnist" not in told


def test_the_summary_says_which_algorithms_differ_from_the_plain_mean() -> None:
    scores = {"fedlgd": 80.0, "fedprox": 71.0, "random_subset+fedavg": 60.0, "fedavg": 70.0}
    told = federated_summary(frame([federated(name, base) for name, base in scores.items()]))
    assert (
        "- mnist{variants}, IPC 5 (federated-v1): fedlgd is above fedavg (81.0 beside 71.0); "
        "fedprox is not told apart (+1.0) from fedavg (72.0 beside 71.0); under fedavg, sets by dm are above "
        "random images of the same number (71.0 beside 61.0).\n"
    ) in told


def test_published_averages_are_found_for_the_five_digits() -> None:
    found = lookup("DIGITS{domains}", "fedlgd", 10, "convnet")
    assert found is not None and found.paper.value == 80.6 and found.paper.verified


def test_a_federation_is_run_and_recorded_and_then_up_to_date(
    toy_file: Path, tmp_path: Path, home: Path, flower: None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pytest.importorskip("flwr", reason="Flower is an extra", exc_type=ImportError)
    from condense.federated.strategies import STRATEGIES
    from tests.federated.in_process import Direct, run

    def federate(
        algorithm: Any, plan: Any, loop: Any, clients: Callable[[int], Participant], machine: Machine
    ) -> Any:
        strategy = STRATEGIES[type(algorithm)](algorithm, plan, loop)
        run(strategy, Direct(clients, len(plan.names)))
        return strategy

    monkeypatch.setattr("condense.federated.trial.federate", federate)
    short = replace(FEDERATED_SHORT_V1, rounds=2)
    monkeypatch.setattr("condense.protocols.PROTOCOLS", {short.name: short})
    paths = Paths(out=tmp_path / "sets", results=tmp_path / "results")
    asked = cell(toy_file, method="fedlgd", ipc=1, params=LEARNED, eval_seeds=2)
    (record,) = run_cell(asked, paths, Machine())
    assert [entry.seed for entry in record.entries] == [0, 1]
    assert read_record(record.path(paths.results)) == record
    assert [one.name for one in record.entries[0].clients] == ["client 0", "client 1", "client 2"]
    mean = sum(one.accuracy for one in record.entries[0].clients) / 3
    assert record.entries[0].accuracy == pytest.approx(mean)
    assert record.federation is not None and len({one.set for one in record.federation.clients}) == 3
    assert len(list(paths.out.iterdir())) == 3
    assert not (home / "students").exists() or not list((home / "students").iterdir())
    capsys.readouterr()
    monkeypatch.setattr("condense.federated.trial.federate", None)
    (again,) = run_cell(asked, paths, Machine())
    assert again == record and "up to date" in capsys.readouterr().err
