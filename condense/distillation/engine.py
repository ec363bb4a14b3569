"""How a method is run on a dataset."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from condense.data import Dataset, ImageDataset, ImageSpec
from condense.distillation.images.run import ImageRun
from condense.distillation.images.sampling import Sampling
from condense.distillation.method import DatasetT, ImageMethod, Method, Recipe, RunT, SamplesT, SetT
from condense.distillation.run import COUNTS, RunSettings, run_folder
from condense.errors import Refused
from condense.files import home, locked, locked_if_free, require_writable, tidy
from condense.resources import Machine, keep_freed_memory
from condense.store import DistilledSet
from condense.training.checkpoint import Checkpoints
from condense.training.validation import parted

REPEATED = (
    "iterations", "matches", "outer_steps", "inner_epochs", "experts", "teacher_epochs", "rounds", "networks",
    "epochs",
)  # fmt: skip
"""Names of fields that count what a method repeats: the first two that it has are named as savings."""
NARROW = "convnet-w32"
"""The narrowest of the usual networks."""


def distill(
    method: Method[DatasetT, SamplesT, RunT, SetT],
    dataset: DatasetT,
    *,
    ipc: int,
    seed: int = 0,
    recipe: Recipe | None = None,
    machine: Machine | None = None,
    cache: Path | None = None,
    teachers: Mapping[str, Path] | None = None,
    given: Mapping[str, object] | None = None,
) -> tuple[SetT, RunT]:
    """Runs a method on the training samples of a dataset.

    Args:
        method: The method with its settings.
        dataset: A dataset of the method's kind; only its training split is used.
        ipc: Samples per class.
        seed: Seed of the distillation.
        recipe: The published settings that the method was built from, for the set's manifest.
        machine: The device to compute on and the time limit; default: the CPU, without a limit.
        cache: Folder for checkpoints and trained networks; default: `condense.files.home`.
        teachers: Files of teachers by their hashes, for a method whose settings name a hash.
        given: Choices about the data that enter the run key: see `RunSettings`.

    Returns:
        The set, and the run. Call the run's ``done`` once the set is stored.

    Raises:
        Refused: if it cannot work, the cache cannot be written, or the loss is not finite.
        Stopped: if the time limit is reached; the same call goes on from there.
    """
    cache, teachers = cache or home(), teachers or {}
    counts = cast(Sequence[int] | None, (given or {}).get(COUNTS))
    method.require(dataset, ipc, counts, teachers=teachers, cache=cache)
    keep_freed_memory()
    settings = run_settings(
        method, dataset, ipc=ipc, seed=seed, recipe=recipe, machine=machine or Machine(), cache=cache,
        teachers=teachers, given=given or {},
    )  # fmt: skip
    with run_lock(settings.key, settings.title, settings.machine, cache):
        train, run = method.start(dataset, settings)
        made = method.distill(train, run)
    if counts is not None and method.fills:
        per_class = cast(DistilledSet, made).content["counts"]["per_class"]
        if per_class != list(counts):
            raise Refused(
                f"{method.title} has made {per_class} samples of the classes, not {list(counts)}: it "
                "does not go by run.counts, so that every class needs the same number"
            )
    return made, run


def run_settings(
    method: Method, dataset: Dataset, *, ipc: int, seed: int, recipe: Recipe | None, machine: Machine,
    cache: Path, teachers: Mapping[str, Path], given: Mapping[str, object],
) -> RunSettings[Any]:  # fmt: skip
    """Returns the settings of a run of a method; the arguments are those of `distill`."""
    source = recipe.cited_by(method) if recipe else None
    if source is not None and COUNTS in given:
        source += f"; other numbers of {dataset.spec.kind} per class"
    return RunSettings(
        title=method.title,
        chain=method.chain(),
        source=source,
        protocol=recipe.protocol if recipe else None,
        network=cast(str | None, method.settings().get("network")),
        remedy=method.remedy,
        shorter=_shorter(method),
        spec=dataset.spec,
        train_hash=dataset.train.hash,
        ipc=ipc,
        seed=seed,
        machine=machine,
        cache=cache,
        teachers=teachers,
        given=given,
    )


def _shorter(method: Method) -> str:
    """Says which settings make a run shorter: fewer of what it repeats, and a narrower network."""
    config = method.links()[0].config()
    found = [f"fewer {name}" for name in REPEATED if isinstance(config.get(name), int)][:2]
    if NARROW not in str(config.get("network", NARROW)):
        found.append(f"a narrower network (network={NARROW})")
    verb = "makes" if len(found) == 1 and found[0].startswith("a ") else "make"
    return f"{' or '.join(found)} {verb} it shorter" if found else ""


def choose(
    method: ImageMethod, dataset: ImageDataset, settings: RunSettings[ImageSpec]
) -> tuple[Sampling, ImageRun]:
    """Runs the selection of a method that trains students without a set.

    Args:
        method: The method with its settings.
        dataset: The dataset, of whose training split the validation part is left out.
        settings: See `run_settings`.

    Returns:
        What is chosen, and the run. Call the run's ``done`` once the students are recorded.

    Raises:
        Refused: if the cache cannot be written, or a loss is not finite.
        Stopped: if the time limit is reached; the same call goes on from there.
    """
    keep_freed_memory()
    with run_lock(settings.key, settings.title, settings.machine, settings.cache):
        kept, _ = parted(dataset.train)
        train, run = method.start(replace(dataset, train=dataset.train.select(kept)), settings)
        run.kept = kept
        return method.sampling(train, run), run


def run_lock(
    key: str, title: str, machine: Machine, cache: Path | None = None
) -> AbstractContextManager[None]:
    """Returns the lock on a run's folder: see `condense.files.locked`.

    `distill` holds it by itself. Who stores the set afterwards holds it from before until the run is done.

    Args:
        key: The key of the run.
        title: Name of the method.
        machine: The machine, whose time limit ends a wait for another process.
        cache: As for `distill`.

    Raises:
        Refused: if the cache cannot be written.
    """
    require_writable(cache := cache or home())
    return locked(run_folder(key, cache), what=f"distils {title}", budget=machine.budget)


def clean(key: str, cache: Path | None = None) -> None:
    """Removes what a run, named by its key, left that was killed after it had stored its set."""
    folder = run_folder(key, cache or home())
    tidy(folder)  # a run that wrote no checkpoint has no folder, but had a lock
    if folder.exists():
        with locked_if_free(folder) as free:
            if free:
                shutil.rmtree(folder / "replay", ignore_errors=True)
                Checkpoints(folder).remove()
