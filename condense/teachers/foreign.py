"""Reads the file of a teacher: one of this suite, or the weights of a network that was trained elsewhere.

Weights are a ``.safetensors`` file of a state dict, or a PyTorch file, of which only tensors in plain
containers are read (``weights_only=True``). The network has to be one of this suite. Its tensors are matched
by name. In a PyTorch file, whose order is that of the layers, they are matched one after the other by their
shapes if the names differ; so the networks of other code bases fit, such as torchvision's ResNets with the
stem of `condense.networks.resnet`.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from condense.data import ImageSpec
from condense.errors import Refused, Remedy
from condense.files import first_line, hash_tensors
from condense.networks import network_tensors
from condense.reading import open_file, refused_if_damaged
from condense.store.foreign.plain import read_plain
from condense.teachers.header import Header
from condense.teachers.teacher import COUNTER, KEY, Teacher, load_teacher


def read_teacher(path: Path, device: torch.device | str = "cpu", *, network: str, spec: ImageSpec) -> Teacher:
    """Reads a teacher from a file of this suite or of another code base.

    Args:
        path: The file.
        device: The device to compute on.
        network: Name of the network, if the weights are of another code base. A file of this suite names its
            network itself.
        spec: Specification of the dataset whose classes the weights of another code base are taken to tell
            apart, in their order; `condense.teachers.check_classes` tests this. What such weights were
            trained on is unknown, and the header says so.

    Returns:
        The teacher. Weights of another code base are rounded to half precision, and the header holds the hash
        of the weights as they were read.

    Raises:
        Refused: if the file is damaged, or its tensors are not those of the network.
    """
    open_file(path).close()
    if path.suffix == ".safetensors":
        if KEY in _metadata(path):
            return load_teacher(path, device)
        state, ordered = _safetensors(path), False
    else:
        state, ordered = _of_torch(path), True
    state = {name: value for name, value in state.items() if not name.endswith(COUNTER)}
    if strange := [name for name, value in state.items() if not value.is_floating_point()]:
        raise Refused(f"{path}: {strange[0]} is {state[strange[0]].dtype}; weights are floating point")
    header = Header(
        network=network, dataset=None, classes=spec.classes, shape=spec.shape, mean=spec.mean, std=spec.std,
        train_hash=None, accuracy=None, training={"foreign": hash_tensors(state)},
    )  # fmt: skip
    ours = network_tensors(network, spec.shape, spec.num_classes)
    wanted = {name: value.shape for name, value in ours.items() if not name.endswith(COUNTER)}
    return Teacher.of(header, _matched(state, wanted, ordered, f"{path} does not hold a {network}"), device)


def _matched(
    state: Mapping[str, Tensor], wanted: Mapping[str, torch.Size], ordered: bool, refusal: str
) -> dict[str, Tensor]:
    """Returns the tensors under the names that the suite's network has."""
    structure = Remedy(settings={"params.network": None}, effect="names its structure")
    # DataParallel puts a prefix in front of each name.
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    if plain.keys() != wanted.keys():
        if not ordered:
            name = min(plain.keys() ^ wanted.keys())
            where = "is missing" if name in wanted else "is none of its tensors"
            raise Refused(f"{refusal}: {name} {where}", remedies=[structure])
        if len(plain) != len(wanted):
            reason = f"{refusal}: it has {len(plain)} tensors, not {len(wanted)}"
            raise Refused(reason, remedies=[structure])
        plain = dict(zip(wanted, plain.values(), strict=True))
    for name, shape in wanted.items():
        if plain[name].shape != shape:
            found, ours = (" x ".join(map(str, one)) for one in (plain[name].shape, shape))
            raise Refused(f"{refusal}: {name} would be {found}, not {ours}", remedies=[structure])
    return plain


def _metadata(path: Path) -> Mapping[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise Refused(f"{path} is not a whole .safetensors file: {first_line(error)}") from error


def _safetensors(path: Path) -> dict[str, Tensor]:
    with refused_if_damaged(f"{path} cannot be read"), safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def _of_torch(path: Path) -> dict[str, Tensor]:
    """Reads the state dict of a PyTorch file without executing anything."""
    held = read_plain(path)
    for key in ("state_dict", "model"):  # where training scripts put it
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
    fine = isinstance(held, Mapping) and held and all(isinstance(value, Tensor) for value in held.values())
    if not fine:
        raise Refused(
            f"{path} holds no state dict: a mapping from names to tensors, by itself or as state_dict"
        )
    return {str(name): value for name, value in held.items()}
