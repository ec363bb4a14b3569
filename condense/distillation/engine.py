"""From a method and a dataset to a finished set."""

import shutil
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import overload

import torch

from condense.data import Dataset, GraphDataset, ImageDataset
from condense.distillation.graphs.method_tmp import GraphMethod
from condense.distillation.graphs.run import GraphRun
from condense.distillation.images.run import ImageRun
from condense.distillation.images.taught import require_fixed, require_invertible
from condense.distillation.method import ImageMethod, Method, Recipe
from condense.errors import Refused
from condense.files import home, require_writable
from condense.networks import build_network
from condense.resources import Budget, keep_freed_memory
from condense.store import ImageSet
from condense.store.graphs.graph_set import GraphSet
from condense.training.checkpoint import Checkpoints


def check(
    method: Method,
    dataset: Dataset,
    ipc: int,
    *,
    teachers: Mapping[str, Path] | None = None,
    cache: Path | None = None,
) -> None:
    """Refuses, before any work, what cannot work.

    Args:
        method: With its settings.
        dataset: Its training split is what counts.
        ipc: Samples per class.
        teachers: Files of teachers by their hashes.
        cache: As in `distill`.

    Raises:
        Refused: if the method is for another kind of data, the IPC is impossible, or for images, the network
            does not exist or does not fit them, there is no fixed teacher where the method asks for it, or
            the teacher has no batch norms where the method matches them.
    """
    spec = dataset.spec
    one = spec.kind.removesuffix("s")
    if method.kind != spec.kind:
        raise Refused(f"{method.title} distils {method.kind}; {spec.name} holds {spec.kind}")
    if ipc < 1:
        raise Refused(f"--ipc {ipc}: at least one {one} per class is needed")
    if (stored := method.per_class(ipc, spec.num_classes)) < 1:
        least = next(more for more in count(ipc) if method.per_class(more, spec.num_classes))
        raise Refused(
            f"--ipc {ipc}: what {method.title} shares between the classes of {spec.name} leaves no room for "
            f"one {one} of each; from --ipc {least} on it does"
        )
    counts = dataset.train.counts()
    smallest = min(range(len(counts)), key=counts.__getitem__)
    if method.needs_real and stored > counts[smallest]:
        raise Refused(
            f"--ipc {ipc}: class {spec.classes[smallest]!r} of {spec.name} has "
            f"{counts[smallest]} training {spec.kind}"
        )
    if isinstance(method, ImageMethod) and isinstance(dataset, ImageDataset):
        _check_networks(method, dataset, teachers or {}, cache or home())


def _check_networks(
    method: ImageMethod, dataset: ImageDataset, teachers: Mapping[str, Path], cache: Path
) -> None:
    spec = dataset.spec
    build_network(method.network, spec.shape, spec.num_classes, torch.Generator())
    require_fixed(method, spec, dataset.train.hash)
    require_invertible(method, spec, dataset.train.hash, teachers, cache)


@overload
def distill(
    method: ImageMethod,
    dataset: ImageDataset,
    *,
    ipc: int,
    seed: int = 0,
    recipe: Recipe | None = None,
    device: torch.device | str = "cpu",
    budget: Budget | None = None,
    cache: Path | None = None,
    teachers: Mapping[str, Path] | None = None,
) -> tuple[ImageSet, ImageRun]: ...
@overload
def distill(
    method: GraphMethod,
    dataset: GraphDataset,
    *,
    ipc: int,
    seed: int = 0,
    recipe: Recipe | None = None,
    device: torch.device | str = "cpu",
    budget: Budget | None = None,
    cache: Path | None = None,
    teachers: Mapping[str, Path] | None = None,
) -> tuple[GraphSet, GraphRun]: ...
@overload
def distill(
    method: Method,
    dataset: Dataset,
    *,
    ipc: int,
    seed: int = 0,
    recipe: Recipe | None = None,
    device: torch.device | str = "cpu",
    budget: Budget | None = None,
    cache: Path | None = None,
    teachers: Mapping[str, Path] | None = None,
) -> tuple[ImageSet, ImageRun] | tuple[GraphSet, GraphRun]: ...
def distill(
    method: Method,
    dataset: Dataset,
    *,
    ipc: int,
    seed: int = 0,
    recipe: Recipe | None = None,
    device: torch.device | str = "cpu",
    budget: Budget | None = None,
    cache: Path | None = None,
    teachers: Mapping[str, Path] | None = None,
) -> tuple[ImageSet, ImageRun] | tuple[GraphSet, GraphRun]:
    """Runs a method on a dataset's training samples.

    Args:
        method: With its settings.
        dataset: Only its training split is handed on.
        ipc: Samples per class.
        seed: Of the distillation.
        recipe: What the settings were published in, for the set's manifest.
        device: Where to compute.
        budget: When to stop.
        cache: Folder for checkpoints and trained networks; default `condense.files.home`.
        teachers: Files of teachers by their hashes, for a method whose settings name one.

    Returns:
        The set, and the run, whose `ImageRun.done` is to be called once the set is stored.

    Raises:
        Refused: if it cannot work, the cache cannot be written, or the loss is not finite.
        Stopped: when the budget has run out; the same call goes on from there.
    """
    cache = cache or home()
    check(method, dataset, ipc, teachers=teachers, cache=cache)
    require_writable(cache)
    device = torch.device(device)
    keep_freed_memory()
    budget = budget or Budget()
    if isinstance(method, GraphMethod) and isinstance(dataset, GraphDataset):
        graph_run = GraphRun(
            method, spec=dataset.spec, train_hash=dataset.train.hash, ipc=ipc, seed=seed, recipe=recipe,
            device=device, budget=budget, cache=cache,
        )  # fmt: skip
        return method.distill(dataset.train.to(device), graph_run), graph_run
    assert isinstance(method, ImageMethod) and isinstance(dataset, ImageDataset)
    space = dataset.space(method.pixel_space).to(device)
    train = dataset.train.to(device).in_space(space)
    run = ImageRun(
        method, spec=dataset.spec, space=space, train_hash=dataset.train.hash, ipc=ipc, seed=seed,
        recipe=recipe, device=device, budget=budget, cache=cache, teachers=teachers,
    )  # fmt: skip
    return method.distill(train, run), run


def clean(key: str, cache: Path | None = None) -> None:
    """Removes what a run left that was killed between storing its set and `ImageRun.done`.

    Args:
        key: The run's.
        cache: As in `distill`.
    """
    folder = (cache or home()) / "runs" / key[:32]
    Checkpoints(folder).remove()
    shutil.rmtree(folder / "replay", ignore_errors=True)
