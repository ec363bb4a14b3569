"""The manifest of a stored set of images."""

import math
from collections.abc import Mapping
from typing import Annotated, NotRequired, TypedDict, cast

from msgspec import Meta

from condense.data.images.pixels import SPACES, WHITENED
from condense.errors import Refused
from condense.files import canonical
from condense.schema import Amount, Name, Number, Percent, Positive, ReadOnly, Side, Text, Whole
from condense.store.images.decode import Compensated, StepPart, step_from
from condense.store.manifest import DatasetPart, LabelPart, SetContent

PARTS = ("images", "labels", "replay", "decoder", "auxiliary", "teacher")
"""Names under which a set's bytes are counted."""
PART_OF = {
    "images": "images", "encoded": "images", "offsets": "images",
    "labels": "labels", "soft": "labels", "features": "labels", "projector": "labels",
    "compensators": "auxiliary",
}  # fmt: skip
"""The tensors of version 1, each with the part that its bytes count under."""
LABEL_KINDS = ("hard", "soft", "features", "replayed", "projected")
LABEL_FORMS = ("logits", "hard", "smoothing", "marginal-smoothing", "marginal-renorm", "full")
"""What can be stored of the label of a view."""
FILLS = ("mean", "minimum", "zero")
"""What can stand for logits that are not stored."""


class ImageDatasetPart(DatasetPart):
    """The dataset of a set of images; `shape` is (c, h, w), `dsa` the operations of its augmentation."""

    shape: Annotated[list[Side], Meta(min_length=3, max_length=3)]
    dsa: Text


class PixelsPart(TypedDict):
    """The pixel space, as `PixelSpace.describe` returns it.

    There is a mean and a standard deviation for each channel, or, if the images are whitened, how they were.
    """

    space: Name
    mean: NotRequired[list[Number]]
    std: NotRequired[list[Positive]]
    eps: NotRequired[Amount]
    fitted_on: NotRequired[Name]
    recompute: NotRequired[Text]


class ReplayedLabelPart(LabelPart):
    """Labels that are stored together with views of the images: a teacher's logits for batches of views.

    The labels lie in shards (`condense.store.images.replay`), one for each epoch. If there are fewer shards
    than `epochs`, a student draws its batches from all shards. `images` is the hash of the labelled images
    (`condense.store.images.replay.hash_images`). `crop`, `cutmix` and `mixup` say how the views were drawn
    (`condense.augment.views`). `top_k` is the number of logits that are stored for each view, None for all.
    `protocol` names the protocol whose batches and epochs these are; it is absent if they were chosen freely.
    `form` and `fill` say what is stored of a label (`condense.store.images.shards`); they are absent for
    logits and for the mean of the logits that are left out.
    """

    images: Name
    epochs: Whole
    shards: Whole
    batch: Whole
    crop: Text
    cutmix: Amount
    mixup: Amount | None
    top_k: Whole | None
    dtype: Name
    protocol: NotRequired[Name]
    form: NotRequired[Name]
    fill: NotRequired[Name]


class FeaturesLabelPart(LabelPart):
    """Labels that are vectors of `dim` numbers, which a student's outputs are to equal.

    The loss is `scale` times the mean over the images of the sum of squared differences.
    """

    dim: Annotated[int, Meta(ge=1, le=2**31)]
    scale: Positive


class AdaptedPart(TypedDict):
    """A weight of an encoder, as a matrix of `rows` x `columns`, and what is stored in its place.

    `rank` is the rank of the matrix that is added to it; None if the whole weight is stored, and its bias.
    """

    name: Name
    rows: Whole
    columns: Whole
    rank: Whole | None


class ProjectedLabelPart(LabelPart):
    """Labels that are regenerated from any view of the images, by a frozen encoder with stored adapters.

    `teacher` is the hash of the encoder, `adapted` the weights that the numbers of the tensor `projector`
    change, in their order (`condense.store.images.projection`), and `beta` the weight of the class ids in a
    student's loss.
    """

    adapted: list[AdaptedPart]
    beta: Amount


class ShardPart(TypedDict):
    """One file of stored labels; `hash` and `bytes` are those of its tensors."""

    file: Name
    hash: Name
    bytes: Whole


class EncodingPart(TypedDict):
    """The compression of the images: ``png``, or ``jpeg`` with a quality from 1 to 100."""

    format: Name
    quality: Whole | None


class TeacherPart(TypedDict):
    """The network that a method inverted or chose its images with; accuracy is in percent, if known."""

    hash: Name
    network: Name
    bytes: Whole
    accuracy: Percent | None


class HintsPart(TypedDict):
    """The set's own advice for training on it: a learned learning rate, and an augmentation.

    `rollbacks` is the number of steps that were taken back while the set was learned, for the methods that
    take steps back.
    """

    lr: Amount | None
    augment: Text
    rollbacks: NotRequired[Whole]


class ImageContent(SetContent):
    """The part of `set.json` that the content hash of a set of images covers."""

    dataset: ReadOnly[ImageDatasetPart]
    pixels: PixelsPart
    decode: list[StepPart]
    hints: HintsPart
    replay: NotRequired[list[ShardPart]]
    encoding: NotRequired[EncodingPart]
    teacher: NotRequired[TeacherPart]


class ReplayedContent(ImageContent):
    """The same for a set that stores labels together with views of its images."""

    label: ReplayedLabelPart
    replay: list[ShardPart]  # type: ignore[misc] # it may be left out of other sets only


class FeaturesContent(ImageContent):
    """The same for a set whose labels are vectors that a student's outputs are to equal."""

    label: FeaturesLabelPart


class ProjectedContent(ImageContent):
    """The same for a set whose labels an encoder regenerates with stored adapters; `teacher` names it."""

    label: ProjectedLabelPart
    teacher: TeacherPart  # type: ignore[misc] # it may be left out of other sets only


def find_image_content_error(content: ImageContent) -> str | None:
    """Says what in a content of the right form is unknown to this version or contradicts itself, or None."""
    if (kind := content["label"]["kind"]) not in LABEL_KINDS:
        return f"unknown label kind {kind!r}; known: {', '.join(LABEL_KINDS)}"
    if wrong := _find_replay_error(content):
        return wrong
    if (space := content["pixels"]["space"]) not in SPACES:
        return f"unknown pixel space {space!r}; known: {', '.join(SPACES)}"
    channels, pixels = content["dataset"]["shape"][:1], content["pixels"]
    statistics = [len(pixels.get("mean", [])), len(pixels.get("std", []))]
    if space not in WHITENED and statistics != channels * 2:
        return "content.pixels.mean and content.pixels.std do not hold one number a channel"
    return _find_decode_error(content)


def _find_decode_error(content: ImageContent) -> str | None:
    """Says why the decode steps cannot be applied to the stored images, or returns None."""
    _, *sides = content["dataset"]["shape"]
    copies = 1
    for part in content["decode"]:
        try:
            step = step_from({**part})
        except Refused as error:
            return str(error)
        if content["pixels"]["space"] in WHITENED:
            return f"whitened pixels cannot be decoded by {step.name}: a part of them is no whitened image"
        if isinstance(step, Compensated) and copies > 1:
            return f"{step.name} adds to stored images: no step can stand before it"
        if wrong := step.find_size_error(sides):
            return wrong
        copies *= step.copies
    if copies > math.prod(sides):
        return f"content.decode makes {copies} images of each that is stored: more than it has pixels"
    return None


def _find_replay_error(content: ImageContent) -> str | None:
    """Says what is wrong with the description of stored labels, or returns None."""
    label, shards = content["label"], content.get("replay")
    if label["kind"] != "replayed":
        return None if shards is None else f"there are stored labels, but the label kind is {label['kind']}"
    label = cast(ReplayedLabelPart, label)
    if shards is None or len(shards) != label["shards"]:
        return f"content.label.shards is {label['shards']}, but content.replay lists {len(shards or ())}"
    if not 1 <= label["shards"] <= label["epochs"] or label["batch"] < 1:
        shape = f"{label['shards']} shards in batches of {label['batch']}"
        return f"{shape} are no labels of {label['epochs']} epochs"
    classes = len(content["dataset"]["classes"])
    if (top := label["top_k"]) is not None and not 1 <= top < classes:
        return f"content.label.top_k is {top}, but there are {classes} classes"
    if wrong := _find_form_error(label):
        return wrong
    if label["dtype"] != "float16":
        return f"stored labels of {label['dtype']} are unknown; this condense reads float16"
    for number, shard in enumerate(shards):
        # The names are fixed, so that none can lead out of the set's folder.
        if shard["file"] != (name := shard_name(number)):
            return f"content.replay[{number}].file is {shard['file']!r}, not {name}"
    return None


def _find_form_error(label: ReplayedLabelPart) -> str | None:
    """Says why stored labels cannot have the form that they are said to have, or returns None."""
    form, fill = label.get("form", "logits"), label.get("fill", "mean")
    for name, value, known in (("form", form, LABEL_FORMS), ("fill", fill, FILLS)):
        if value not in known:
            return f"unknown {name} of stored labels {value!r}; known: {', '.join(known)}"
    if form != "logits" and (label["top_k"] is not None) != form.startswith("marginal"):
        return f"content.label.top_k is {label['top_k']} for labels of the form {form}"
    if fill != "mean" and (form != "logits" or label["top_k"] is None):
        return f"content.label.fill is {fill}, but no logits are left out"
    return None


def shard_name(epoch: int) -> str:
    """Returns the name of the file with an epoch's stored labels."""
    return f"replay-{epoch:05d}.safetensors"


def space_identity(description: Mapping[str, object]) -> str:
    """Returns a text that is equal for equal pixel spaces: the description without its `recompute` text."""
    return canonical({key: value for key, value in description.items() if key != "recompute"})
