"""The parts of a card that only sets of images have."""

from collections.abc import Mapping
from typing import cast

from condense.data.images.pixels import WHITENED
from condense.store.card import CardText, write_card
from condense.store.images.decode import step_from
from condense.store.images.manifest import (
    FeaturesLabelPart,
    ImageContent,
    ProjectedLabelPart,
    ReplayedLabelPart,
)
from condense.store.manifest import UNLABELLED


def image_card(content: ImageContent, provenance: Mapping[str, object], *, true_colours: bool) -> str:
    """Returns the card of a set of images in Markdown.

    Args:
        content: The manifest's content, complete.
        provenance: The manifest's provenance, with the hash.
        true_colours: Whether the images can be shown in their own colours.
    """
    counts, decode, projected = content["counts"], content["decode"], content["label"]["kind"] == "projected"
    unlabelled = content["dataset"]["classes"] == [UNLABELLED]
    text = CardText(
        samples=f"{counts['stored']} synthetic images"
        + (f", decoded into {counts['effective']}," if decode else ""),
        student="a network",
        test="test images" + " of other data, once it has learned their classes" * unlabelled,
        pictures=f"The {'stored ' if decode else ''}images" + ", a row for each class" * (not unlabelled),
        pictures_note="" if true_colours else _FALSE_COLOURS,
        rows=[
            ("Shape (c, h, w)", str(content["dataset"]["shape"])),
            *(("Decoding", step_from({**step}).words) for step in decode),
            ("Pixel space", _describe_pixels(content)),
            *([("Compression", _describe_encoding(content))] if "encoding" in content else []),
            ("Labels", _describe_labels(content)),
            ("Training hints", _describe_hints(content)),
        ],
        loading="this folder; a torch Dataset of (image, label) pairs",
        loading_note=_LOADING_PROJECTED if projected else "",
        reader=image_reader(content),
        reader_note=_READER_NOTES[content["pixels"]["space"]] + (_WEIGHTS_NOTE if projected else ""),
    )
    return write_card(content, provenance, text)


def image_reader(content: ImageContent) -> str:
    """Returns Python code that reads a set from inside its folder with json and safetensors.

    It imports torch or PIL if the images are decoded or compressed. Its results are the NumPy arrays ``x``,
    float32 images as students see them, and ``y``, their labels; of stored or projected labels it reads the
    class ids. Of projected ones it makes ``weights`` too: by the layers of the encoder, what is added to the
    weight as a matrix, or the weight and the bias that take the place of the encoder's.
    """
    kind, encoded = content["label"]["kind"], "encoding" in content
    y = kind if kind in ("soft", "features") else "labels"
    lines = [
        "import json",
        *(["import io", "import numpy", "from PIL import Image"] if encoded else []),
        *(["import torch"] if content["decode"] else []),
        "from safetensors.numpy import load_file",
        'content, tensors = json.load(open("set.json"))["content"], load_file("data.safetensors")',
        *(_DECOMPRESSING if encoded else ()),
        f'x, y = tensors["images"].astype("float32"), tensors["{y}"]',
    ]
    if content["pixels"]["space"] == "raw":
        byte = encoded or {"images": "uint8"} in [
            {part["name"]: part["dtype"]} for part in content["tensors"]
        ]
        lines += [
            'constants = enumerate(zip(content["pixels"]["mean"], content["pixels"]["std"]))',
            f"for i, (mean, std) in constants: x[:, i] = (x[:, i]{' / 255' if byte else ''} - mean) / std",
        ]
    lines += _decoding(content)
    return "\n".join([*lines, *(_PROJECTING if content["label"]["kind"] == "projected" else ())])


def _decoding(content: ImageContent) -> list[str]:
    """Returns the lines of `image_reader` that decode the images; they pad only where a step pads."""
    if not (steps := content["decode"]):
        return []
    tiled = [step for step in steps if "factor" in step]
    compensated = len(tiled) < len(steps)
    pads = any(side % step["factor"] for step in tiled for side in content["dataset"]["shape"][1:])
    lines = ["x = torch.from_numpy(x)"]
    if pads or compensated:
        lines.append(
            'mean, std = (torch.tensor(content["pixels"][key])[:, None, None] for key in ("mean", "std"))'
        )
    if compensated:
        lines += [
            'u = torch.from_numpy(tensors["compensators"]) / 127 / std',
            "u = u[torch.arange(len(x)) % len(u)]",
            "sums = [(x + u[:, m]).clamp(-mean / std, (1 - mean) / std) for m in range(u.shape[1])]",
            "x, y = torch.cat([x, *sums]), y[list(range(len(x))) * (len(sums) + 1)]",
        ]
    if not tiled:
        return [*lines, "x = x.numpy()"]
    return [
        *lines,
        *(["grey = (0.5 - mean) / std"] if pads else []),
        f'for step in content["decode"]{"[1:]" if compensated else ""}:',
        '    f, (n, c, h, w) = step["factor"], x.shape',
        *(["    x = torch.nn.functional.pad(x - grey, (0, -w % f, 0, -h % f)) + grey"] if pads else []),
        "    x = x.view(n, c, f, -(-h // f), f, -(-w // f)).permute(2, 4, 0, 1, 3, 5).flatten(0, 2)",
        '    x = torch.nn.functional.interpolate(x, (h, w), mode="bilinear", align_corners=False)',
        "    y = y[list(range(n)) * f**2]",
        "x = x.numpy()",
    ]


_DECOMPRESSING = (
    'files, ends = tensors["encoded"].tobytes(), tensors["offsets"]',
    "read = [numpy.array(Image.open(io.BytesIO(files[i:j]))) for i, j in zip(ends, ends[1:])]",
    'n, (c, h, w) = len(read), content["dataset"]["shape"]',
    'tensors["images"] = numpy.stack(read).reshape(n, h, w, c).transpose(0, 3, 1, 2)',
)
"""The lines of `image_reader` that decompress the images."""

_PROJECTING = (
    'p, weights = tensors["projector"].astype("float32"), {}',
    'for part in content["label"]["adapted"]:',
    '    m, n, r = part["rows"], part["columns"], part["rank"]',
    "    a, p = p[: (m * n if r is None else m * r)], p[(m * n if r is None else m * r) :]",
    "    b, p = p[: (m if r is None else r * n)], p[(m if r is None else r * n) :]",
    '    weights[part["name"]] = (a.reshape(m, n), b) if r is None else a.reshape(m, r) @ b.reshape(r, n)',
)
"""The lines of `image_reader` that put the adapters of projected labels together."""


def _describe_pixels(content: ImageContent) -> str:
    pixels: dict[str, object] = {**content["pixels"]}
    if (space := pixels["space"]) in WHITENED:
        fitted = f"eps {pixels.get('eps')}, fitted on the training set `{pixels.get('fitted_on')}`"
        return f"{space}: {fitted}; to recompute it, {pixels.get('recompute')}"
    return f"{pixels.pop('space')}: " + ", ".join(f"{key} {value}" for key, value in sorted(pixels.items()))


def _describe_labels(content: ImageContent) -> str:
    label = content["label"]
    if label["kind"] == "hard":
        return "class ids"
    teacher = f" from the teacher `{label['teacher']}`" if label["teacher"] else ""
    if label["kind"] == "soft":
        return f"class ids, and a probability for each class at temperature {label['temperature']}{teacher}"
    if label["kind"] == "features":
        vectors = cast(FeaturesLabelPart, label)
        ids = "no class ids (all are 0)" if content["dataset"]["classes"] == [UNLABELLED] else "class ids"
        return (
            f"{ids}, and for each image a vector of {vectors['dim']} numbers{teacher} that a network's "
            f"outputs are to equal, in a loss of {vectors['scale']:g} times the sum of squared differences, "
            "averaged over the images"
        )
    if label["kind"] == "projected":
        own, encoder = cast(ProjectedLabelPart, label), content["teacher"]
        return (
            f"class ids, and {len(own['adapted'])} adapted weights of the encoder `{encoder['hash']}` (a "
            f"{encoder['network']} of {encoder['bytes']} bytes, which is not in this folder): its logits are "
            f"the labels of any view, in a loss of mean squared error + {own['beta']} cross-entropy"
        )
    stored = cast(ReplayedLabelPart, label)
    logits = f"the {stored['top_k']} largest logits" if stored["top_k"] else "logits"
    if fill := stored.get("fill"):
        logits += f" (for the others: {fill})"
    if form := stored.get("form"):
        most = f", the {stored['top_k']} largest" if stored["top_k"] else ""
        logits = f"probabilities (`{form}`{most})"
    mixing = "CutMix" * bool(stored["cutmix"]) or "mixup" * bool(stored["mixup"]) or "nothing"
    return (
        f"class ids, and {logits}{teacher} for views, which were cropped by {stored['crop']} and mixed by "
        f"{mixing}: {stored['shards']} epochs of labels in batches of {stored['batch']}, for training of "
        f"{stored['epochs']} epochs at temperature {stored['temperature']}"
    )


def _describe_encoding(content: ImageContent) -> str:
    quality = content["encoding"]["quality"]
    return content["encoding"]["format"] + ("" if quality is None else f" of quality {quality}")


def _describe_hints(content: ImageContent) -> str:
    lr, augment = content["hints"]["lr"], content["hints"]["augment"]
    return f"learning rate {'not learned' if lr is None else lr}, augmentation {augment or 'none'}"


_FALSE_COLOURS = """
(The images are whitened. If they were stored without the whitening at hand, each picture is stretched from
its least to its greatest value, and its colours mean nothing.)
"""

_LOADING_PROJECTED = """
With the encoder at hand, `condense.teachers.projected(data)` gives each image with its regenerated label.
"""
_WEIGHTS_NOTE = """
`weights` changes the encoder, whose file this folder does not hold: for a layer of this name, a single matrix
is added to the weight (reshaped), and a pair takes the place of weight and bias. The encoder's logits of an
image in `x` are then its label."""

_READER_NOTES = {
    "raw": "`x` is normalised with the statistics of the training set; test images need the same.",
    "normalized": "`x` is `(pixel / 255 - mean) / std` with the mean and std of each channel in "
    "`content['pixels']`; test images need the same.",
    **dict.fromkeys(
        WHITENED,
        "`x` is whitened; test images must be whitened with the same matrix, and `content['pixels']` says "
        "how to recompute it.",
    ),
}
