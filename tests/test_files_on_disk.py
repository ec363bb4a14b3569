"""Where files lie, how long they are, and how tests are named."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.source_code import ROOT, of_every_file, sources

MAX_LINES = 400
MAX_NAME = 75
"""The longest name of a test, after ``test_``."""


@of_every_file("condense", "methods", "tests", "benchmarks", "scripts")
def test_no_file_is_longer_than_can_be_read_in_one_go(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


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
    assert on_disk | {"condense.shipped"} == set(setup["packages"]), "that one holds stored sets alone"


def test_every_module_of_the_core_lies_in_a_package() -> None:
    assert [path for path in sources("condense") if not (path.parent / "__init__.py").exists()] == []


@of_every_file("tests")
def test_the_names_of_tests_are_short_sentences(path: Path) -> None:
    names = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    assert [name for name in names if len(name) > MAX_NAME + len("test_") and name.startswith("test_")] == []
