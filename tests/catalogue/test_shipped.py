"""The sets that are installed with condense: those of their catalogue, and no more than a few of them."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from condense.catalogue.form import CATALOGUE, SHIPPED, read_catalogue
from condense.store import examine

ROOT = Path(__file__).parents[2]
SETS = ROOT / "results" / "sets"
MOST = 300_000
"""Bytes that they may have in all."""


def packaged() -> list[Path]:
    """The files that the list of package data takes from the folder of sets."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert ROOT / setup["package-dir"]["condense.shipped"] == SETS
    globs = setup["package-data"]["condense.shipped"]
    files = [path for path in SETS.rglob("*") if path.is_file()]
    return [f for f in files if any(fnmatchcase(f.relative_to(SETS).as_posix(), one) for one in globs)]


def test_the_package_data_are_the_sets_that_the_packages_catalogue_names() -> None:
    named = read_catalogue(SETS / SHIPPED).sets
    folders = [entry.folder or "" for entry in named]
    wanted = {SETS / SHIPPED, *(path for folder in folders for path in (SETS / folder).iterdir())}
    assert {*packaged()} == wanted and len(wanted) == 1 + 4 * len(named)
    assert sum(path.stat().st_size for path in packaged()) < MOST


def test_the_packages_sets_have_short_names_and_are_whole() -> None:
    whole, shipped = read_catalogue(SETS / CATALOGUE).sets, read_catalogue(SETS / SHIPPED).sets
    names = [entry.name for entry in whole]
    assert all(names.count(entry.name) == 1 and entry in whole for entry in shipped)
    assert {entry.kind for entry in shipped} == {"images", "graphs"}
    for entry in shipped:
        assert entry.folder and examine(SETS / entry.folder).hash == entry.hash


@pytest.mark.slow
def test_an_installed_wheel_loads_its_sets_in_an_empty_folder(tmp_path: Path) -> None:
    if int(importlib.metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("setuptools is too old to build condense")
    source, site, empty = tmp_path / "source", tmp_path / "site", tmp_path / "empty"
    for name in ("condense", "methods", "benchmarks", "results/sets"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "import setuptools.build_meta as b; b.build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = source.glob("*.whl")
    shutil.unpack_archive(wheel, site, "zip")
    empty.mkdir()
    paths = [str(site), sysconfig.get_paths()["purelib"], *filter(None, sys.path[1:])]
    script = (
        f"import sys; sys.path[:0] = {paths!r}; import condense\n"
        f"assert condense.__file__.startswith({str(site)!r})\n"
        "for name in condense.sets()['name']: print(condense.load(name).hash)\n"
    )
    outside = {**os.environ, "CONDENSE_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-S", "-c", script]
    done = subprocess.run(command, cwd=empty, env=outside, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [entry.hash for entry in read_catalogue(SETS / SHIPPED).sets]
    assert list(empty.iterdir()) == [] and not (tmp_path / "home").exists()
