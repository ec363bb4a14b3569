"""The card of a stored set: a README for whoever finds the folder without the suite."""

from collections.abc import Mapping
from typing import cast

from condense.files import canonical
from condense.store.images.decode import from_description as step_of
from condense.store.manifest import ImageContent, Replayed


def card(content: ImageContent, provenance: Mapping[str, object], *, true_colours: bool = True) -> str:
    """Writes the card.

    Args:
        content: The manifest's content, complete.
        provenance: The manifest's provenance, with the hash.
        true_colours: Whether the gallery shows the images' own colours.

    Returns:
        Markdown.
    """
    dataset, counts, method = content["dataset"], content["counts"], content["method"]
    sizes = {part: size for part, size in content["bytes"].items() if size}
    rows = [
        (
            "Dataset",
            f"{dataset['name']}, {len(dataset['classes'])} classes, shape {dataset['shape']} (c, h, w)",
        ),
        ("Train split", f"`{dataset['train_hash']}`"),
        ("Method", method["name"]),
        ("Published recipe", method["source"] or "none"),
        (
            "Images per class",
            f"{content['ipc']}, {counts['stored']} stored, {counts['effective']} trained on",
        ),
        *(("Decoding", step_of({**step}).words) for step in content["decode"]),
        (
            "Bytes",
            ", ".join(f"{part} {size}" for part, size in sizes.items()) + f"; {sum(sizes.values())} in all",
        ),
        ("Pixel space", _pixels(content)),
        *([("Compression", _encoding(content))] if "encoding" in content else []),
        ("Labels", _labels(content)),
        ("Training hints", _hints(content)),
        ("Distil seed", str(content["seed"])),
        *(
            (name.capitalize(), str(provenance[name]))
            for name in ("device", "seconds", "time")
            if name in provenance
        ),
        ("Content hash", f"`{provenance['hash']}`"),
    ]
    colours = "" if true_colours else _FALSE_COLOURS
    chain = "\n".join(
        f"{link['name']} {link['version']}: {canonical(link['config'])}" for link in method["chain"]
    )
    return _CARD.format(
        title=f"{dataset['name']} distilled by {method['name']}",
        total=f"{counts['stored']} synthetic images"
        + (f", decoded into {counts['effective']}," if content["decode"] else ""),
        name=dataset["name"],
        colours=colours,
        stored="stored " if content["decode"] else "",
        table="\n".join(f"| {name} | {' '.join(value.split())} |" for name, value in rows),
        chain=chain,
        plain=plain_reader(content),
        after=_AFTER[content["pixels"]["space"]],
    )


def plain_reader(content: ImageContent) -> str:
    """Python that reads a set from inside its folder with json and safetensors; torch or PIL if need be.

    Of a set with stored labels it reads the class ids.

    It ends with ``x``, float32 images as students see them, and ``y``, their labels: NumPy arrays.
    """
    soft, encoded = content["label"]["kind"] == "soft", "encoding" in content
    lines = [
        "import json",
        *(["import io", "import numpy", "from PIL import Image"] if encoded else []),
        *(["import torch"] if content["decode"] else []),
        "from safetensors.numpy import load_file",
        'content, tensors = json.load(open("set.json"))["content"], load_file("data.safetensors")',
        *(_DECOMPRESSING if encoded else ()),
        f'x, y = tensors["images"].astype("float32"), tensors["{"soft" if soft else "labels"}"]',
    ]
    if content["pixels"]["space"] == "raw":
        byte = encoded or {"images": "uint8"} in [
            {part["name"]: part["dtype"]} for part in content["tensors"]
        ]
        lines += [
            'constants = enumerate(zip(content["pixels"]["mean"], content["pixels"]["std"]))',
            f"for i, (mean, std) in constants: x[:, i] = (x[:, i]{' / 255' if byte else ''} - mean) / std",
        ]
    return "\n".join(lines + _decoding(content))


def _decoding(content: ImageContent) -> list[str]:
    """The lines of `plain_reader` that decode, where there are steps; they pad where a step does."""
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


def _pixels(content: ImageContent) -> str:
    pixels: dict[str, object] = {**content["pixels"]}
    if pixels["space"] == "zca":
        fitted = f"eps {pixels.get('eps')}, fitted on the train split `{pixels.get('fitted_on')}`"
        return f"zca: {fitted}; to recompute it, {pixels.get('recompute')}"
    return f"{pixels.pop('space')}: " + ", ".join(f"{key} {value}" for key, value in sorted(pixels.items()))


def _labels(content: ImageContent) -> str:
    label = content["label"]
    if label["kind"] == "hard":
        return "class ids"
    teacher = f", by the teacher `{label['teacher']}`" if label["teacher"] else ""
    if label["kind"] == "replayed":
        stored = cast(Replayed, label)
        logits = f"the {stored['top_k']} largest logits" if stored["top_k"] else "logits"
        mixed = "boxes" * bool(stored["cutmix"]) or "means" * bool(stored["mixup"]) or "nothing"
        return (
            f"class ids, and {logits} of {stored['crop']} views mixed by {mixed}{teacher}: "
            f"{stored['shards']} epochs in batches of {stored['batch']}, for {stored['epochs']} "
            f"at temperature {stored['temperature']}"
        )
    return f"class ids, and a probability for each class at temperature {label['temperature']}{teacher}"


def _encoding(content: ImageContent) -> str:
    quality = content["encoding"]["quality"]
    return content["encoding"]["format"] + ("" if quality is None else f" of quality {quality}")


def _hints(content: ImageContent) -> str:
    lr, augment = content["hints"]["lr"], content["hints"]["augment"]
    return f"learning rate {'not learned' if lr is None else lr}, augmentation {augment or 'none'}"


_DECOMPRESSING = (
    'files, ends = tensors["encoded"].tobytes(), tensors["offsets"]',
    "read = [numpy.array(Image.open(io.BytesIO(files[i:j]))) for i, j in zip(ends, ends[1:])]",
    'n, (c, h, w) = len(read), content["dataset"]["shape"]',
    'tensors["images"] = numpy.stack(read).reshape(n, h, w, c).transpose(0, 3, 1, 2)',
)

_FALSE_COLOURS = """
(The images are whitened and were stored without the whitening at hand: each picture is stretched from its
least to its greatest value, and its colours mean nothing.)
"""

_AFTER = {
    "raw": "`x` is normalised with the train statistics: test images want the same.",
    "normalized": "`x` is `(pixel / 255 - mean) / std` with each channel's mean and std in "
    "`content['pixels']`: test images want the same.",
    "zca": "`x` is whitened: test images must be whitened with the same matrix, which `content['pixels']` "
    "tells how to recompute.",
}

_CARD = """\
# {title}

{total} that stand for the training set of {name}: a network trained on them alone should do
well on the real test set. Made with condense (`pip install condense-bench`).

![The {stored}images, a row for each class](gallery.png)
{colours}
| | |
| --- | --- |
{table}

The method with all its settings:

```
{chain}
```

## Load it

```python
import condense

data = condense.load(".")  # this folder; a torch Dataset of (image, label) pairs
```

Without condense, from inside this folder:

```python
{plain}
```

{after} The order of the classes is `content["dataset"]["classes"]`.

## Check it

`condense verify .` recomputes the content hash, which covers the `content` of `set.json` and every tensor of
`data.safetensors`, name, type, shape and bytes, and nothing else; files of labels are covered by their hashes
in `content`.
"""
