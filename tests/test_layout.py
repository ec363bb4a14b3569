"""The shape of the house: who imports whom, what a method may reach, and what no file may do."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from condense.data import KINDS
from condense.distillation.registry import methods

ROOT = Path(__file__).parents[1]
MAX_LINES = 400

VALUES = {"errors", "files", "measure", "memory", "protocol", "data"}
LEARNING = VALUES | {"networks", "augment", "store", "training", "teachers"}
WORK = LEARNING | {"distill", "evaluate", "board"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "memory": set(),
    "files": {"errors"},
    "measure": {"errors"},
    "protocol": {"errors", "files"},
    "data": {"errors", "files", "augment"},
    "networks": {"errors", "data"},
    "teachers": {"errors", "files", "data", "networks"},
    "augment": {"errors"},
    "store": {"errors", "files", "protocol", "data", "augment"},
    "training": {"networks", "augment", "store"},
    "distill": LEARNING,
    "evaluate": LEARNING,
    "board": {"errors", "files", "protocol"},
    "labelling": WORK,
    "benches": WORK | {"labelling"},
    "naming": WORK | {"benches"},
    "judge": WORK | {"benches"},
    "audit": {"errors", "store", "board"},
    "cells": WORK | {"benches", "judge", "labelling", "naming"},
    "rejudge": WORK | {"cells", "judge", "labelling", "naming"},
    "baselines": WORK | {"cells"},
    "queues": {"errors", "cells"},
    "options": set(),
    "asked": {"errors", "measure", "benches", "cells"},
    "upkeep": {"errors", "files", "board"},
    "cli": WORK | {"asked", "audit", "baselines", "cells", "options", "queues", "rejudge", "upkeep"},
    "__main__": {"errors", "cli"},
    "__init__": {"store"},
}
"""The parts of condense, and the other parts that each of them may import."""

METHODS_MAY_IMPORT = {
    "condense.augment", "condense.augment.dsa", "condense.augment.legacy", "condense.augment.views",
    "condense.data", "condense.distillation.images.taught", "condense.distillation.inversion.invert",
    "condense.distillation.inversion.protocols", "condense.distillation.coreset",
    "condense.distillation.graphs.thresholds",
    "condense.distillation", "condense.distillation.graphs.gradients", "condense.distillation.graphs.itemsets",
    "condense.distillation.graphs.trees", "condense.distillation.matching.unrolled", "condense.errors", "condense.networks",
    "condense.protocol", "condense.store", "condense.store.images.encode", "condense.store.targets",
    "condense.teachers", "condense.training.parameters", "condense.training.step",
}  # fmt: skip
DATA_FOR_METHODS = {"ImageSpec", "GraphSpec", "Graphs", "PixelSpace", "Images"}
"""What a method may take of `condense.data`: nothing that holds or loads test data."""
SOURCES_OF_DATA = {
    "torchvision.datasets",
    "sklearn.datasets",
    "torch_geometric.datasets",
    "urllib",
    "requests",
}
"""Where a method could fetch test data by itself."""

TAKE_A_GENERATOR = {
    f"torch.{name}" for name in ("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial")
}
TAKE_A_GENERATOR_IN_PLACE = {
    "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "uniform_",
}  # fmt: skip
GLOBAL_DRAWS = {
    "torch.rand_like", "torch.randn_like", "torch.randint_like", "torch.seed", "torch.manual_seed",
    "torch.initial_seed", "torch.random.manual_seed", "torch.random.seed", "torch.cuda.manual_seed",
    "torch.cuda.manual_seed_all", "torch.set_rng_state", "torch.random.set_rng_state",
}  # fmt: skip
NUMPYS_OWN_STREAMS = {"default_rng", "Generator", "RandomState"}
WEIGHTS_ONLY = "torch.load of weights only"
READS_WEIGHTS = "condense/teachers/foreign.py"
"""The one file that reads what other code bases have stored: tensors in plain containers, nothing else."""
FOREIGN_OBJECTS = {"torch.save", "torch.load", "torch.jit.load", "eval", "exec", "__import__"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Every import: the module, and the name taken out of it; a relative module keeps its dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((module, alias.name) for alias in node.names)


def dotted(node: ast.AST) -> str:
    """``torch.cuda.seed`` for the expression of that form, and nothing for any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := dotted(node.value)):
        return f"{base}.{node.attr}"
    return ""


def part_of(module: str, name: str | None) -> str:
    """The part of condense that an import reaches: ``store`` for ``condense.store.images.card``."""
    if module == "condense":
        return "__init__" if name is None or name.startswith("__") else name
    return module.split(".")[1]


def trespasses(part: str, source: str) -> list[str]:
    """Imports that a part of condense must not make."""
    found = []
    for module, name in imports(ast.parse(source)):
        if module.startswith("."):
            found.append(f"{module}: the core imports by full names")
        elif module.split(".")[0] in ("methods", "tests", "scripts"):
            found.append(f"{module}: not a part of the core")
        elif module.split(".")[0] == "condense":
            if (other := part_of(module, name)) != part and other not in MAY_IMPORT[part]:
                found.append(f"{module} {name or ''}".strip())
    return found


def reaches(source: str) -> list[str]:
    """What a method's source reaches for that it must not."""
    tree = ast.parse(source)
    found = []
    for module, name in imports(tree):
        what = f"{module} {name or ''}".strip()
        whole = module if name is None else f"{module}.{name}"
        if module.startswith(".."):
            found.append(what)
        elif module.split(".")[0] == "condense":
            if name is None or module not in METHODS_MAY_IMPORT or name in ("load", "*"):
                found.append(what)
            elif module == "condense.data" and name not in DATA_FOR_METHODS:
                found.append(what)
        elif module.split(".")[0] in ("methods", "importlib", "pkgutil", "runpy"):
            found.append(what)
        elif any(f"{whole}.".startswith(f"{place}.") for place in SOURCES_OF_DATA):
            found.append(what)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and dotted(node) in SOURCES_OF_DATA | {"sys.modules"}:
            found.append(dotted(node))
    return found


def sins(source: str) -> list[str]:
    """Pickles, and draws from a generator that nobody handed in."""
    tree = ast.parse(source)
    found = [
        module
        for module, _ in imports(tree)
        if module.split(".")[0] in ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "random")
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and dotted(node) in GLOBAL_DRAWS:
            found.append(dotted(node))
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func)
        last = node.func.attr if isinstance(node.func, ast.Attribute) else called
        handed_in = any(keyword.arg == "generator" for keyword in node.keywords)
        if called in FOREIGN_OBJECTS:
            kept_to_weights = any(
                keyword.arg == "weights_only" and getattr(keyword.value, "value", None) is True
                for keyword in node.keywords
            )
            found.append(WEIGHTS_ONLY if called == "torch.load" and kept_to_weights else called)
        elif (called in TAKE_A_GENERATOR or last in TAKE_A_GENERATOR_IN_PLACE) and not handed_in:
            found.append(called or last)
        elif "dropout" in last.lower():
            found.append(called or last)
        elif called.startswith(("np.random.", "numpy.random.")) and last not in NUMPYS_OWN_STREAMS:
            found.append(called)
    return found


@pytest.mark.parametrize("path", sources("condense"), ids=name_of)
def test_a_part_of_the_core_imports_only_the_parts_below_it(path: Path) -> None:
    part = path.relative_to(ROOT / "condense").parts[0].removesuffix(".py")
    assert part in MAY_IMPORT, f"{part} has no place in the house yet: give it one in MAY_IMPORT"
    assert trespasses(part, path.read_text()) == []


@pytest.mark.parametrize("path", sources("methods"), ids=name_of)
def test_a_method_reaches_neither_test_data_nor_what_judges_it(path: Path) -> None:
    assert reaches(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "from condense.evaluation import ImageStudent",
        "from condense.records.record import read_record",
        "from condense.runner.cell import judge",
        "from condense import cli",
        "from condense import data",
        "import condense",
        "import condense.data as d",
        "from condense.data import load_images",
        "from condense.data import Dataset, Split",
        "from condense.data import GraphDataset, Graphs",
        "from condense.data import load_graphs",
        "from condense.data.images.sources import load_images",
        "from condense.data import *",
        "from condense.distillation.engine import Dataset",
        "from condense.store import load",
        "from condense.methods.dm import DM",
        "from methods.dm import DM",
        "from .. import cells",
        "import importlib",
        "import sys\nsys.modules['condense.data']",
        "def f():\n    from condense.evaluation import Whole",
        "from torchvision.datasets import CIFAR10",
        "from torchvision import datasets",
        "import torchvision\ntorchvision.datasets.CIFAR10('.', train=False)",
        "from sklearn.datasets import load_digits",
    ],
)
def test_the_rule_for_methods_sees_each_way_around_it(source: str) -> None:
    assert reaches(source)


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("data", "from condense.store import load"),
        ("distill", "import condense.methods.dm"),
        ("distill", "from condense.evaluation import ImageStudent"),
        ("board", "from condense.runner.cell import Cell"),
        ("store", "from condense import cli"),
        ("errors", "from condense.files import home"),
        ("cli", "from methods import dm"),
    ],
)
def test_the_rule_for_the_core_sees_an_import_of_a_part_above(part: str, source: str) -> None:
    assert trespasses(part, source)


@pytest.mark.parametrize("path", sources("condense", "methods"), ids=name_of)
def test_nothing_is_pickled_and_all_randomness_is_handed_in(path: Path) -> None:
    allowed = [WEIGHTS_ONLY] if name_of(path) == READS_WEIGHTS else []
    assert sins(path.read_text()) == allowed


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import random",
        "torch.save(x, 'a')",
        "torch.load('a', weights_only=True)",
        "torch.load('a', weights_only=False)",
        "torch.manual_seed(0)",
        "seed = torch.cuda.manual_seed_all",
        "torch.rand(3)",
        "torch.randperm(3)",
        "torch.randn_like(x)",
        "x.normal_()",
        "nn.Dropout(0.5)",
        "np.random.seed(0)",
        "numpy.random.permutation(3)",
        "eval(text)",
    ],
)
def test_the_rule_against_global_randomness_and_pickles_sees_each_form(source: str) -> None:
    assert sins(source)


def test_a_draw_from_a_generator_that_was_handed_in_is_allowed() -> None:
    fine = "torch.rand(3, generator=rng)\nx.normal_(generator=rng)\ntorch.Generator().manual_seed(0)\n"
    assert sins(fine + "np.random.RandomState(0).permutation(3)") == []


@pytest.mark.parametrize("path", sources("tests", "benchmarks", "scripts"), ids=name_of)
def test_everything_outside_reaches_a_method_through_the_registry(path: Path) -> None:
    found = {module for module, _ in imports(ast.parse(path.read_text()))}
    found |= {
        f"condense.{name}" for module, name in imports(ast.parse(path.read_text())) if module == "condense"
    }
    assert not {one for one in found if one.split(".")[0] == "methods" or one.startswith("condense.methods")}


def test_the_folder_of_methods_is_no_package_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import methods"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "ImportError: import condense.methods, not methods" in done.stderr


def test_no_methods_file_takes_a_name_of_the_standard_library() -> None:
    assert {path.stem for path in sources("methods")} & sys.stdlib_module_names == set()


def test_methods_lie_flat_in_their_folder() -> None:
    assert [path for path in sources("methods") if path.parent != ROOT / "methods"] == []


def test_the_packages_that_are_installed_are_those_on_disk() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    inits = sources("condense", "methods", "benchmarks")
    folders = [path.parent.relative_to(ROOT) for path in inits if path.name == "__init__.py"]
    beside = {folder: name for name, folder in setup["package-dir"].items()}
    on_disk = {beside.get(folder.as_posix(), ".".join(folder.parts)) for folder in folders}
    assert on_disk == set(setup["packages"])


def test_every_module_of_the_core_lies_in_a_package() -> None:
    assert [path for path in sources("condense") if not (path.parent / "__init__.py").exists()] == []


@pytest.mark.parametrize(
    "path", sources("condense", "methods", "tests", "benchmarks", "scripts"), ids=name_of
)
def test_no_file_is_longer_than_can_be_read_in_one_go(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", sources("condense", "methods"), ids=name_of)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_help_and_the_bare_import_do_not_wait_for_torch() -> None:
    script = (
        "import sys, condense\n"
        "from condense.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({'torch', 'numpy', 'sklearn', 'matplotlib', 'kornia'} & set(sys.modules)))\n"
    )
    for arguments in (["--help"], ["run", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert "Usage:" in done.stdout
        assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind in KINDS
        for name, cls in methods(kind).items()
        if cls.__module__.startswith("condense.")
    ],
)
def test_every_method_says_what_it_is_and_where_its_settings_come_from(kind: str, name: str) -> None:
    cls = methods(kind)[name]
    module = sys.modules[cls.__module__]
    assert cls.name == name and name == name.lower()
    assert cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}(")
    assert module.__doc__ and "http" in module.__doc__
    for (dataset, ipc), recipe in cls.recipes.items():
        assert dataset and ipc > 0
        assert recipe.source.strip()
