"""Checkpoints: a tree of tensors, numbers and text in one safetensors file, in which damage is detected.

A file holds the tensors under numbered names. Its metadata entry holds the tree as JSON, and a hash of both.
The two newest files are kept, so that the older one is used if a kill cut the newer one short.
"""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from condense.files import canonical, hash_tensors, write_atomic

Tree = None | bool | int | float | str | Tensor | list[Any] | dict[str | int, Any]
"""A tree; the values in its lists and dictionaries are trees too, which no check at run time could follow."""


def encode_tree(tree: object, tensors: dict[str, Tensor]) -> object:
    """Returns a tree as JSON values; its tensors are put into ``tensors`` under numbered names.

    Args:
        tree: Nested dicts (with text or int keys), lists and tuples of tensors, numbers, text and None.
        tensors: Filled with copies on the CPU.

    Raises:
        TypeError: if the tree holds anything else; a checkpoint holds no pickles.
    """
    if isinstance(tree, Tensor):
        name = f"{len(tensors):06d}"
        tensors[name] = tree.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(tree, Mapping):
        return {"dict": [[key, encode_tree(value, tensors)] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        return {"list": [encode_tree(value, tensors) for value in tree]}
    if isinstance(tree, float) and not math.isfinite(tree):
        return {"float": str(tree)}
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TypeError(f"a checkpoint cannot hold a {type(tree).__name__}")


def decode_tree(values: object, tensors: Mapping[str, Tensor]) -> Tree:
    """Returns the tree that `encode_tree` encoded; tuples become lists."""
    if isinstance(values, dict):
        if "tensor" in values:
            return tensors[values["tensor"]]
        if "float" in values:
            return float(values["float"])
        if "dict" in values:
            return {key: decode_tree(value, tensors) for key, value in values["dict"]}
        return [decode_tree(value, tensors) for value in values["list"]]
    assert values is None or isinstance(values, bool | int | float | str)
    return values


class Checkpoints:
    """The checkpoint files of one folder, newest last.

    Attributes:
        folder: Their folder, which the first write makes.
        damaged: Files that the last `read` could not use, newest first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: list[Path] = []

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("checkpoint-*.safetensors"))

    def write(self, tree: Mapping[str, object]) -> None:
        """Writes a new file and removes all but the two newest."""
        tensors: dict[str, Tensor] = {}
        values = encode_tree(tree, tensors)
        head = {"tree": values, "hash": hash_tensors(tensors, canonical(values))}
        files = self._files()
        number = int(files[-1].stem.removeprefix("checkpoint-")) + 1 if files else 0
        path = self.folder / f"checkpoint-{number:08d}.safetensors"
        write_atomic(path, save(tensors, metadata={"condense": canonical(head)}))
        for old in self._files()[:-2]:
            old.unlink(missing_ok=True)

    def read(self) -> dict[str | int, Tree] | None:
        """Returns the newest undamaged tree, or None; damaged files are listed in `damaged` and removed."""
        self.damaged = []
        for path in reversed(self._files()):
            try:
                with safe_open(path, framework="pt") as file:
                    head = json.loads((file.metadata() or {})["condense"])
                    tensors = {name: file.get_tensor(name) for name in file.keys()}
                if hash_tensors(tensors, canonical(head["tree"])) != head["hash"]:
                    raise ValueError("hash")
                tree = decode_tree(head["tree"], tensors)
                assert isinstance(tree, dict)
                return tree
            except (SafetensorError, OSError, KeyError, ValueError, TypeError, RecursionError):
                self.damaged.append(path)
                path.unlink(missing_ok=True)
        return None

    def remove(self) -> None:
        """Removes all checkpoints, what a kill left half written, and the folder if it is empty then."""
        for path in [*self._files(), *self.folder.glob(".checkpoint-*")]:
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()
