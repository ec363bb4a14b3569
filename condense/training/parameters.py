"""Weights of networks that the suite has trained: kept in the cache with what they cost, read if sound."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from condense.files import canonical, hash_tensors, write_atomic


@dataclass(frozen=True)
class About:
    """What is known of stored weights.

    Attributes:
        hash: SHA-256 of them.
        seconds: The time that their training took.
        accuracy: Percent of what was held out; None where nothing was.
    """

    hash: str
    seconds: float
    accuracy: float | None = None


def write(folder: Path, network: nn.Module, seconds: float, accuracy: float | None = None) -> None:
    """Stores a network's weights.

    Args:
        folder: Its place in the cache.
        network: On any device.
        seconds: The time that its training took.
        accuracy: Percent of what was held out, if anything was.
    """
    tensors = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    about = {"seconds": round(seconds, 3), "hash": hash_tensors(tensors)}
    if accuracy is not None:
        about["accuracy"] = accuracy
    write_atomic(folder / "weights.safetensors", save(tensors))
    write_atomic(folder / "about.json", canonical(about, indent=1))


def read(folder: Path, network: nn.Module) -> About | None:
    """Puts stored weights into a network, which is then in evaluation mode and frozen.

    Args:
        folder: Its place in the cache.
        network: Of the form that was stored; left as it is where there is nothing to read.

    Returns:
        None if it is missing or damaged: it is then trained again.
    """
    try:
        about = json.loads((folder / "about.json").read_text())
        tensors = load((folder / "weights.safetensors").read_bytes())
        if hash_tensors(tensors) != about["hash"]:
            return None
        found = About(about["hash"], about["seconds"], about.get("accuracy"))
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
    network.load_state_dict(tensors)
    network.eval().requires_grad_(False)
    return found
