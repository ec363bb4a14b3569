"""A picture of a set of images: one row for each class, with its name at the left."""

import io
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

COLUMNS = 10
"""Largest number of images that are shown of a class."""
ROWS = 100
"""Largest number of classes that are shown."""
GAP = 2
"""Pixels between two images."""
TINY = 16
"""Images with fewer pixels a side are enlarged smoothly, because squares would hide what they show."""


def draw_images(
    pictures: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    classes: Sequence[str],
    *,
    true_colours: bool = True,
) -> bytes:
    """Draws the first images of each class as a PNG file, the same for equal arguments.

    Args:
        pictures: The images, 0 for black and 1 for white; values beyond are clamped.
        labels: The class of each image.
        classes: Names of the classes.
        true_colours: Whether the values are colours. If not, those of each image are stretched to [0, 1].
    """
    shown = min(len(classes), ROWS)
    members = [(labels == row).nonzero()[:COLUMNS, 0] for row in range(shown)]
    columns = max(1, *(len(rows) for rows in members))
    height, width = pictures.shape[-2:]
    aim = 64 if shown <= 20 else 32
    enlarging = Image.Resampling.BICUBIC if max(height, width) < TINY else Image.Resampling.NEAREST
    scale = max(1, round(aim / max(height, width)))
    shrink = min(1.0, 2 * aim / (scale * max(height, width)))
    high, wide = round(height * scale * shrink), round(width * scale * shrink)

    font = ImageFont.load_default(size=14 if shown <= 20 else 11)
    names = [name if len(name) <= 24 else name[:23] + "." for name in classes[:shown]]
    gutter = round(max(font.getlength(name) for name in names)) + 12
    sheet = Image.new("RGB", (gutter + columns * (wide + GAP), shown * (high + GAP) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (name, chosen) in enumerate(zip(names, members, strict=True)):
        top = GAP + row * (high + GAP)
        draw.text((gutter - 6, top + high / 2), name, fill="black", font=font, anchor="rm")
        for column, image in enumerate(_bytes(pictures[chosen], true_colours)):
            tile = Image.fromarray(image.numpy())
            tile = tile.resize((width * scale, height * scale), enlarging)
            if (wide, high) != tile.size:
                tile = tile.resize((wide, high), Image.Resampling.LANCZOS)
            sheet.paste(tile, (gutter + column * (wide + GAP), top))
    file = io.BytesIO()
    sheet.save(file, format="PNG")
    return file.getvalue()


def _bytes(pictures: Float[Tensor, "n c h w"], true_colours: bool) -> UInt8[Tensor, "n h w 3"]:
    if not true_colours:
        low, high = pictures.amin((1, 2, 3), keepdim=True), pictures.amax((1, 2, 3), keepdim=True)
        pictures = (pictures - low) / (high - low).clamp(min=1e-8)
    if pictures.shape[1] not in (1, 3):
        pictures = pictures[:, :3] if pictures.shape[1] > 3 else pictures[:, :1]
    colours = pictures.expand(-1, 3, -1, -1).clamp(0, 1).mul(255).round().to(torch.uint8)
    return colours.permute(0, 2, 3, 1).contiguous()
