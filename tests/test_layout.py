"""The shape of the house: who imports whom, and what a method may reach."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from condense.data import KIND_NAMES
from condense.distillation.registry import methods
from tests.source_code import ROOT, dotted, imports, name_of, of_every_file, sources

BASE = {"errors", "files", "events", "reading", "schema", "termination", "resources", "protocol", "protocols"}
DATA = BASE | {"augment", "data", "networks", "store"}
LEARNING = DATA | {"training", "teachers"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "crew": set(),
    "events": {"errors", "files"},
    "termination": {"errors"},
    "reading": {"errors", "files"},
    "schema": {"errors"},
    "resources": {"errors", "termination"},
    "protocol": {"errors", "files", "schema"},
    "protocols": {"errors", "protocol"},
    "augment": {"errors"},
    "data": {"errors", "files", "reading", "augment"},
    "networks": {"errors", "data"},
    "store": BASE | {"augment", "data"},
    "catalogue": BASE | {"store"},
    "training": DATA,
    "teachers": DATA | {"training"},
    "distillation": LEARNING,
    "records": BASE | {"crew", "store", "catalogue"},
    "evaluation": LEARNING | {"distillation", "records"},
    "board": BASE | {"crew", "store", "catalogue", "records"},
    "federated": LEARNING | {"distillation", "records", "evaluation"},
    "runner": LEARNING | {"crew", "catalogue", "distillation", "records", "evaluation", "board", "federated"},
    "cli": LEARNING
    | {"catalogue", "distillation", "records", "evaluation", "board", "federated", "runner", "__init__"},
    "plugin": LEARNING | {"distillation"},
    "__main__": {"errors", "termination", "cli"},
    "__init__": {"errors", "store", "catalogue", "runner"},
}
"""The rooms of condense, and the other rooms that each of them may import."""

TOP_LEVEL = {
    "__init__", "__main__", "plugin", "crew", "errors", "events", "files", "protocol", "protocols",
    "reading", "resources", "schema", "termination",
}  # fmt: skip
"""The modules of condense that lie in no package."""

KIND_CLASSES = {
    f"{kind}{what}" for what in ("Dataset", "Method", "Run", "Spec") for kind in ("", "Image", "Graph")
} | {"DistilledSet", "ImageSet", "GraphSet", "Images", "Graphs", "Samples", "DatasetSpec"}
"""Classes of one kind of data: nothing may branch on them but `condense.evaluation.kinds.kind_of`."""
OF_ANY_KIND = {"condense/distillation/registry.py": {"Method"}, "condense/data/base.py": {"Samples"}}
"""The checks of a class that both kinds share: that a foreign method is one, and which fields are samples."""

SHARED_LINES = 8
"""This many equal lines in two places are a piece of code that wants to be one."""

METHODS_MAY_IMPORT = {
    "condense.augment", "condense.augment.dsa", "condense.augment.legacy", "condense.augment.views",
    "condense.data", "condense.distillation", "condense.distillation.coreset",
    "condense.distillation.matching.distribution",
    "condense.distillation.matching.gradient", "condense.distillation.matching.protocols",
    "condense.distillation.matching.turns",
    "condense.distillation.graphs.gradients", "condense.distillation.graphs.itemsets",
    "condense.distillation.graphs.thresholds", "condense.distillation.graphs.trees",
    "condense.distillation.images.crops",
    "condense.distillation.kernel.implicit", "condense.distillation.kernel.linearised",
    "condense.distillation.kernel.optimizers",
    "condense.distillation.kernel.pool", "condense.distillation.kernel.prototypes",
    "condense.distillation.kernel.ridge",
    "condense.distillation.images.sampling", "condense.distillation.robust_sampling",
    "condense.distillation.scored",
    "condense.distillation.images.taught", "condense.distillation.inversion.invert",
    "condense.distillation.inversion.protocols", "condense.distillation.matching.trajectory",
    "condense.distillation.matching.unrolled",
    "condense.errors", "condense.networks", "condense.protocol", "condense.protocols", "condense.store",
    "condense.store.images.encode", "condense.store.images.projection", "condense.store.targets",
    "condense.teachers", "condense.teachers.projector",
    "condense.training.average", "condense.training.parameters", "condense.training.step",
}  # fmt: skip
ALSO_FOR_METHODS = {
    "condense.distillation.method recipes",
    "condense.teachers.training teacher_training",
    "condense.training.pretrained Schedule",
    "condense.training.pretrained TrainingJob",
    "condense.training.pretrained TrainingRecipe",
}
"""Single names that methods may take of modules that hold more."""
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
            if what in ALSO_FOR_METHODS:
                continue
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


def module_of(path: Path) -> str:
    """The module of a file: ``condense.store`` for its ``__init__.py``."""
    parts = ["condense", *path.relative_to(ROOT).with_suffix("").parts]
    parts = parts[1:] if parts[1] == "condense" else parts
    return ".".join(parts).removesuffix(".__init__")


def import_graph() -> dict[str, set[str]]:
    """For each module of condense the modules that it imports, for types alone and inside functions too."""
    paths = {module_of(path): path for path in sources("condense", "methods")}
    graph: dict[str, set[str]] = {}
    for module, path in paths.items():
        graph[module] = set()
        for target, name in imports(ast.parse(path.read_text())):
            if target.startswith("."):
                target = f"condense.methods.{target.strip('.')}".strip(".")
            whole = f"{target}.{name}"
            if found := whole if whole in paths else target if target in paths else None:
                graph[module].add(found)
    return graph


def circles(graph: dict[str, set[str]]) -> list[tuple[str, ...]]:
    """The groups of modules that import each other, directly or through others."""
    reached = {module: set(targets) for module, targets in graph.items()}
    changed = True
    while changed:
        changed = False
        for targets in reached.values():
            more = set().union(*(reached.get(target, set()) for target in targets)) - targets
            targets |= more
            changed |= bool(more)
    return sorted(
        {
            tuple(sorted(b for b in reached[a] if a in reached.get(b, set())))
            for a in reached
            if a in reached[a]
        }
    )


def branches_on_kind(source: str) -> list[str]:
    """The classes of a kind of data that a source tests for with ``isinstance`` or ``issubclass``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and dotted(node.func) in ("isinstance", "issubclass"):
            names = {dotted(one).split(".")[-1] for one in ast.walk(node.args[1])}
            found += sorted(names & KIND_CLASSES)
    return found


def shared_runs(texts: dict[str, str]) -> list[tuple[str, str]]:
    """Places that share `SHARED_LINES` equal lines, not counting blank lines, comments and imports."""
    seen: dict[tuple[str, ...], str] = {}
    found = []
    for name, text in texts.items():
        lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
        lines = [(n, line) for n, line in lines if line and not line.startswith(("#", "import ", "from "))]
        for start in range(len(lines) - SHARED_LINES + 1):
            run = tuple(line for _, line in lines[start : start + SHARED_LINES])
            place = f"{name}:{lines[start][0]}"
            if run in seen:
                found.append((seen[run], place))
            seen[run] = place
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(import_graph()) == []


def test_the_rule_against_circles_sees_one_of_three_modules() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [("a", "b", "c")]


def test_only_these_modules_lie_outside_a_package() -> None:
    assert {path.stem for path in (ROOT / "condense").glob("*.py")} == TOP_LEVEL


def none_of_the_methods(path: Path) -> None:
    assert path.stem not in ("dm", "dsa"), "found"


def test_a_rule_for_every_file_names_all_that_break_it() -> None:
    with pytest.raises(AssertionError) as told:
        of_every_file("methods")(none_of_the_methods)()
    assert re.findall(r"^(\S+): found", str(told.value), re.M) == ["methods/dm.py", "methods/dsa.py"]


@of_every_file("condense", "methods")
def test_nothing_branches_on_the_kind_of_data(path: Path) -> None:
    assert set(branches_on_kind(path.read_text())) <= OF_ANY_KIND.get(name_of(path), set())


def test_the_rule_against_branches_sees_unions_and_attributes() -> None:
    assert branches_on_kind("isinstance(x, ImageSet | store.GraphSet)") == ["GraphSet", "ImageSet"]


def test_no_two_places_share_eight_equal_lines() -> None:
    assert shared_runs({name_of(path): path.read_text() for path in sources("condense", "methods")}) == []


def test_no_method_imports_another_but_a_parent_of_its_class() -> None:
    for path in sources("methods"):
        tree = ast.parse(path.read_text())
        bases = {
            dotted(base) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases
        }
        taken = {name for module, name in imports(tree) if module.startswith(".")}
        assert taken <= bases, path.name


@of_every_file("condense")
def test_only_the_command_line_knows_its_options(path: Path) -> None:
    if path.relative_to(ROOT / "condense").parts[0] in ("cli", "board", "__main__.py"):
        return  # the board prints commands for its readers
    tree = ast.parse(path.read_text())
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [text for text in texts if re.search(r"(^|[\s`(])--[a-z]", text)] == []


@of_every_file("condense")
def test_a_part_of_the_core_imports_only_the_parts_below_it(path: Path) -> None:
    part = path.relative_to(ROOT / "condense").parts[0].removesuffix(".py")
    assert part in MAY_IMPORT, f"{part} has no place in the house yet: give it one in MAY_IMPORT"
    assert trespasses(part, path.read_text()) == []


@of_every_file("methods")
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
        ("distillation", "import condense.methods.dm"),
        ("distillation", "from condense.evaluation import ImageStudent"),
        ("board", "from condense.runner.cell import Cell"),
        ("store", "from condense import cli"),
        ("errors", "from condense.files import home"),
        ("cli", "from methods import dm"),
    ],
)
def test_the_rule_for_the_core_sees_an_import_of_a_part_above(part: str, source: str) -> None:
    assert trespasses(part, source)


@of_every_file("tests", "benchmarks", "scripts")
def test_everything_outside_reaches_a_method_through_the_registry(path: Path) -> None:
    there = list(imports(ast.parse(path.read_text())))
    found = {module for module, _ in there}
    found |= {f"condense.{name}" for module, name in there if module == "condense"}
    assert not {one for one in found if one.split(".")[0] == "methods" or one.startswith("condense.methods")}


@of_every_file("condense", "methods")
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
        for kind in KIND_NAMES
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
