"""The Python API: the commands' work as functions, and errors that name fields."""

import pkgutil
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

import condense
from condense import protocols
from condense.protocol import Stage
from condense.protocols import HARD_V1


@pytest.fixture(autouse=True)
def short_protocol(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hard-v1 of two epochs, and a folder of the test's own."""
    short = replace(HARD_V1, stages=(Stage(epochs=2),))
    monkeypatch.setattr(protocols, "PROTOCOLS", {**protocols.PROTOCOLS, "hard-v1": short})
    monkeypatch.chdir(tmp_path)


FIELDS = {"iterations": 2, "batch_real": 4, "network": "convnet-w32"}


def test_importing_condense_does_not_import_torch_or_pandas() -> None:
    script = "import sys, condense; dir(condense); print({'torch', 'pandas', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_functions_are_no_modules_once_every_module_is_imported(toy_file: Path) -> None:
    for module in pkgutil.walk_packages(condense.__path__, "condense."):
        if "methods" not in module.name and "__main__" not in module.name:
            try:
                import_module(module.name)
            except ModuleNotFoundError as error:
                assert (module.name.startswith("condense.federated."), error.name) == (True, "flwr")
    made = condense.distill("random_subset", toy_file)
    assert len(made) == 3
    table = condense.evaluate(made, dataset=toy_file, student="mlp", eval_seeds=1)
    assert len(table) == 1


def test_every_public_name_is_there() -> None:
    assert all(getattr(condense, name) is not None for name in condense.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'cells'"):
        condense.cells  # noqa: B018


def test_a_set_without_a_folder_is_kept_in_the_cache(toy_file: Path, home: Path) -> None:
    made = condense.distill("dm", toy_file, ipc=1, **FIELDS)  # type: ignore[arg-type]
    (folder,) = (home / "sets").iterdir()
    assert condense.load(folder).hash == made.hash and list(Path.cwd().iterdir()) == [home]
    again = condense.distill("dm", toy_file, ipc=1, **FIELDS)  # type: ignore[arg-type]
    assert again.hash == made.hash
    assert made.content["method"]["chain"][0]["config"]["iterations"] == 2


def test_a_wrappers_field_is_given_by_unpacking_a_dictionary(toy_file: Path) -> None:
    fields = FIELDS | {"fyi.flip_first": True}
    made = condense.distill("dm+fyi", toy_file, out="sets", **fields)  # type: ignore[arg-type]
    assert made.content["method"]["chain"][1]["config"] == {"flip_first": True}
    assert next(Path("sets").iterdir()).name.startswith("toy-dm+fyi-ipc1-seed0-")


def test_an_evaluation_is_recorded_only_if_it_is_asked_for(toy_file: Path) -> None:
    made = condense.distill("random_subset", toy_file)
    given = {"dataset": toy_file, "student": "mlp", "eval_seeds": 2}
    table = condense.evaluate(made, **given)  # type: ignore[arg-type]
    assert list(table["eval_seed"]) == [0, 1] and table["accuracy"].between(0, 100).all()
    assert not Path("results").exists()
    recorded = condense.evaluate(made, results="results", **given)  # type: ignore[arg-type]
    assert list(recorded["accuracy"]) == list(table["accuracy"])
    assert list(condense.results()["accuracy"]) == list(table["accuracy"])


def test_run_returns_what_it_records_and_does_nothing_twice(
    toy_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"seed": 0, "student": "mlp", "eval_seeds": 1}
    table = condense.run("random_subset", toy_file, 2, **given)  # type: ignore[arg-type]
    assert list(table["method"]) == ["random_subset"] and list(table["ipc"]) == [2]
    capsys.readouterr()
    assert condense.run("random_subset", toy_file, 2, **given).equals(table)  # type: ignore[arg-type]
    assert "up to date" in capsys.readouterr().err
    assert condense.results().equals(table)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"ipc": 0}, "ipc=0: at least one image per class is needed"),
        ({"method": "dn"}, "unknown method 'dn'; nearest: dm, "),
        ({"iterations": "many"}, "iterations='many': "),
        ({"iteration": 5}, "'iteration'; nearest: iterations"),
        ({"device": "tpu9"}, "device='tpu9': there is no such device here"),
        ({"data_dir": "nowhere"}, "data_dir='nowhere': there is no such folder"),
        ({"budget": "soon"}, "'soon'"),
    ],
)
def test_a_refusal_names_the_argument_at_fault(
    toy_file: Path, given: dict[str, object], sentence: str
) -> None:
    with pytest.raises(condense.Refused) as refused:
        condense.distill(**({"dataset": toy_file} | given))  # type: ignore[arg-type]
    assert sentence in str(refused.value) and "--" not in str(refused.value)


def test_methods_and_datasets_are_listed_with_their_kind() -> None:
    methods, data = condense.list_methods(), condense.list_datasets()
    assert list(methods.columns) == ["name", "kind", "description"]
    kinds = set(methods[["name", "kind"]].itertuples(index=False, name=None))
    assert {("dm", "images"), ("mirage", "graphs"), ("herding", "graphs"), ("+fyi", "images")} <= kinds
    assert methods["description"].str.len().min() > 10
    assert {("digits", "images"), ("mutag", "graphs")} <= set(data.itertuples(index=False, name=None))


def test_the_plugin_module_has_every_name_it_promises() -> None:
    plugin = import_module("condense.plugin")
    assert all(hasattr(plugin, name) for name in plugin.__all__)
