"""The manifest of a stored set: what `set.json` holds, and how its form is checked.

The `TypedDict`s are the one description of the format: `misfit` checks a file against them. Keys that they do
not name are kept and hashed like all others, so that a later condense may add some.
"""

import math
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import NotRequired, TypedDict, cast, get_args, get_origin, get_type_hints, is_typeddict

from torch import Tensor

from condense.errors import Refused
from condense.files import canonical
from condense.store.images.decode import Compensated, Step, from_description

FORMAT = "condense-set"
VERSION = 1
PARTS = ("images", "labels", "replay", "decoder", "auxiliary", "teacher")
"""What a set's bytes are counted under."""
PART_OF = {
    "images": "images", "encoded": "images", "offsets": "images",
    "labels": "labels", "soft": "labels", "compensators": "auxiliary",
}  # fmt: skip
"""The tensors of version 1, and the part each one's bytes belong to."""
LABEL_KINDS = ("hard", "soft", "replayed")
MAX_BYTES = 16 * 2**20
"""The longest `set.json` that is read: no honest one comes near it."""


class DatasetPart(TypedDict):
    """The data a set stands for; shape is (c, h, w)."""

    name: str
    classes: list[str]
    shape: list[int]
    train_hash: str
    dsa: str


class Counts(TypedDict):
    """Numbers of images: as stored, as trained on, and stored ones of each class."""

    stored: int
    effective: int
    per_class: list[int]


class Pixels(TypedDict):
    """The pixel space as its `describe` gives it: with channel statistics unless whitened, and more keys."""

    space: str
    mean: NotRequired[list[float]]
    std: NotRequired[list[float]]


class Label(TypedDict):
    """The label kind; `teacher` is the content hash of the network that labelled, if one did."""

    kind: str
    temperature: float
    teacher: str | None


class Replayed(Label):
    """Labels of views that are stored with them: a teacher's logits, for batches of augmented, mixed images.

    They are in shards (`condense.store.images.replay`), one for each epoch; with fewer of them than `epochs`, a
    student draws its batches from all that there are. `images` is the hash of what was labelled:
    `condense.store.images.replay.hash_images`. `crop`, `cutmix` and `mixup` say how the views were drawn
    (`condense.augment.views`), `top_k` how many logits of each are stored; None for all.
    """

    images: str
    epochs: int
    shards: int
    batch: int
    crop: str
    cutmix: float
    mixup: float | None
    top_k: int | None
    dtype: str


class Shard(TypedDict):
    """A file of stored labels: its hash is that of its tensors, `bytes` is theirs."""

    file: str
    hash: str
    bytes: int


class Encoding(TypedDict):
    """How images are compressed: ``png``, or ``jpeg`` of a quality from 1 to 100."""

    format: str
    quality: int | None


class TeacherPart(TypedDict):
    """The network that a method inverted, or chose its images with; accuracy is in percent, if known."""

    hash: str
    network: str
    bytes: int
    accuracy: float | None


class Hints(TypedDict):
    """What the set itself says of training on it: a learned learning rate, an augmentation.

    `rollbacks` is how many steps were taken back while it was learned, where that is counted.
    """

    lr: float | None
    augment: str
    rollbacks: NotRequired[int]


class Link(TypedDict):
    """One method of a chain, with every hyper-parameter."""

    name: str
    version: int
    config: dict[str, object]


class MethodPart(TypedDict):
    """The method's name, its chain, and the recipe's source."""

    name: str
    chain: list[Link]
    source: str | None


class TensorPart(TypedDict):
    """One tensor of `data.safetensors`."""

    name: str
    dtype: str
    shape: list[int]


class ImageContent(TypedDict):
    """All of `set.json` that the content hash covers.

    ``bytes`` and ``tensors`` follow from the tensors: a `ImageSet` fills them in.
    """

    format: str
    version: int
    kind: str
    key: str
    dataset: DatasetPart
    ipc: int
    counts: Counts
    bytes: NotRequired[dict[str, int]]
    pixels: Pixels
    decode: list[Step]
    label: Label
    hints: Hints
    protocol: dict[str, object] | None
    method: MethodPart
    seed: int
    tensors: NotRequired[list[TensorPart]]
    replay: NotRequired[list[Shard]]
    encoding: NotRequired[Encoding]
    teacher: NotRequired[TeacherPart]


def misfit(value: object, form: object, where: str) -> str | None:
    """Says where a JSON value is not of a form, or None if it is.

    Args:
        value: What JSON held.
        form: A type of this module: a `TypedDict`, list, dict, union, or plain type.
        where: The value's place, as it is called in the answer.
    """
    if is_typeddict(form):
        assert isinstance(form, type)
        if not isinstance(value, dict):
            return f"{where} is not an object"
        for key, inner in get_type_hints(form).items():
            if key not in value and key in form.__optional_keys__:  # type: ignore[attr-defined]
                continue
            if key not in value:
                return f"{where}.{key} is missing"
            if wrong := misfit(value[key], inner, f"{where}.{key}"):
                return wrong
        return None
    if isinstance(form, UnionType):
        answers = [misfit(value, inner, where) for inner in get_args(form)]
        return None if None in answers else answers[0]
    if get_origin(form) is list:
        if not isinstance(value, list):
            return f"{where} is not a list"
        (inner,) = get_args(form)
        found = (misfit(one, inner, f"{where}[{i}]") for i, one in enumerate(value))
        return next(filter(None, found), None)
    if get_origin(form) is dict:
        if not isinstance(value, dict):
            return f"{where} is not an object"
        (_, inner) = get_args(form)
        found = (misfit(one, inner, f"{where}.{key}") for key, one in value.items())
        return next(filter(None, found), None)
    names = {str: "a text", int: "a whole number", float: "a number", NoneType: "null", object: "a value"}
    assert isinstance(form, type)
    wanted = (int, float) if form is float else form
    if not isinstance(value, wanted) or (form in (int, float) and isinstance(value, bool)):
        return f"{where} is not {names[form]}"
    return None


def unreadable(values: Mapping[str, object]) -> str | None:
    """Says what in a manifest's content is not of its form or unknown to this version, or None."""
    if wrong := misfit(values, ImageContent, "content"):
        return wrong
    if missing := {"bytes", "tensors"} - set(values):
        return f"content.{min(missing)} is missing"
    content = cast(ImageContent, values)
    if content["kind"] != "images":
        return f"this condense reads sets of images, not of {content['kind']}"
    if (kind := content["label"]["kind"]) not in LABEL_KINDS:
        return f"unknown label kind {kind!r}; known: {', '.join(LABEL_KINDS)}"
    if wrong := _unreplayable(content):
        return wrong
    if (space := content["pixels"]["space"]) not in ("raw", "normalized", "zca"):
        return f"unknown pixel space {space!r}; known: raw, normalized, zca"
    if len(content["dataset"]["shape"]) != 3:
        return "content.dataset.shape is not that of an image (c, h, w)"
    channels, pixels = content["dataset"]["shape"][:1], content["pixels"]
    statistics = [len(pixels.get("mean", [])), len(pixels.get("std", []))]
    if space != "zca" and statistics != channels * 2:
        return "content.pixels.mean and content.pixels.std do not hold one number a channel"
    return _undecodable(content)


def _undecodable(content: ImageContent) -> str | None:
    """Says why images as they are stored cannot take the decode steps, or None."""
    _, *sides = content["dataset"]["shape"]
    copies = 1
    for described in content["decode"]:
        try:
            step = from_description({**described})
        except Refused as error:
            return str(error)
        if content["pixels"]["space"] == "zca":
            return f"whitened pixels cannot be decoded by {step.name}: a part of them is no whitened image"
        if isinstance(step, Compensated) and copies > 1:
            return f"{step.name} adds to stored images: no step can stand before it"
        if wrong := step.misfit(sides):
            return wrong
        copies *= step.copies
    if copies > math.prod(sides):
        return f"content.decode makes {copies} images of each that is stored: more than it has pixels"
    return None


def _unreplayable(content: ImageContent) -> str | None:
    """Says what is wrong with what is said of stored labels, or None."""
    label, shards = content["label"], content.get("replay")
    if label["kind"] != "replayed":
        return None if shards is None else f"there are stored labels, but the label kind is {label['kind']}"
    if wrong := misfit(label, Replayed, "content.label"):
        return wrong
    label = cast(Replayed, label)
    if shards is None or len(shards) != label["shards"]:
        return f"content.label.shards is {label['shards']}, but content.replay lists {len(shards or ())}"
    if not 1 <= label["shards"] <= label["epochs"] or label["batch"] < 1:
        shape = f"{label['shards']} shards in batches of {label['batch']}"
        return f"{shape} are no labels of {label['epochs']} epochs"
    classes = len(content["dataset"]["classes"])
    if (top := label["top_k"]) is not None and not 1 <= top < classes:
        return f"content.label.top_k is {top}, but there are {classes} classes"
    if label["dtype"] != "float16":
        return f"stored labels of {label['dtype']} are unknown; this condense reads float16"
    for number, shard in enumerate(shards):
        # The names are fixed, so that none can lead out of the set's folder.
        if shard["file"] != (name := shard_name(number)):
            return f"content.replay[{number}].file is {shard['file']!r}, not {name}"
    return None


def shard_name(epoch: int) -> str:
    """The file of an epoch's stored labels."""
    return f"replay-{epoch:05d}.safetensors"


def described(tensors: Mapping[str, Tensor]) -> list[TensorPart]:
    """The manifest's list of tensors, by name."""
    return [
        {"name": name, "dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}
        for name, tensor in sorted(tensors.items())
    ]


def identity(description: Mapping[str, object]) -> str:
    """What makes two pixel spaces one: all that describes them but the words on recomputing."""
    return canonical({key: value for key, value in description.items() if key != "recompute"})
