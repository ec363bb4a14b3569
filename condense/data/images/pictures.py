"""Decodes one image file, and says what in it a tensor of 8-bit pixels does not show.

The files of named datasets are decoded as everybody decodes them, with Pillow's conversion to RGB (`plain`).
The files of a user's own folder are decoded as a viewer shows them (`as_shown`): turned upright as their EXIF
orientation says, and with transparent parts over white. A file without orientation and transparency gives the
same pixels either way. What cannot be kept (other pages, colour profiles, the lower half of 16 bits) is noted
as a trait.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from condense.errors import Refused
from condense.files import first_line
from condense.reading import open_file

T = TypeVar("T")

COLOURS = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with an alpha channel",
    "P": "with a palette",
    "RGBA": "with an alpha channel",
}
"""Readable names of Pillow's colour modes."""

MAX_PIXELS = 2**26
"""Largest number of pixels of a file that is decoded: 8192 x 8192."""

WHITE = 255
"""The value of all channels behind transparent parts."""

ORIENTATION = 0x0112
"""EXIF tag of the orientation."""
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image of each EXIF orientation upright; 1 is upright."""

TRAITS: Mapping[str, str] = {
    "turned": "images were turned upright, as their EXIF orientation says",
    "transparent": "images have transparent parts, which are shown over white",
    "pages": "files hold several pages or frames, of which the first is used",
    "deep": "images have 16 bits a channel, of which the upper 8 are used",
    "profile": "images carry a colour profile, which is not applied",
}
"""What a file may hold besides the pixels that are used, each with the end of a sentence that counts it."""


@dataclass(frozen=True)
class Unreadable:
    """The reason why a file cannot be used as an image."""

    reason: str


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A decoded image file.

    Attributes:
        image: The image, with one channel if the file is grey.
        mode: Pillow's name of the file's colour mode.
        extent: Width and height of the image before it is resized.
        traits: The `TRAITS` of the file.
    """

    image: UInt8[Tensor, "c h w"]
    mode: str
    extent: tuple[int, int]
    traits: frozenset[str] = frozenset()


def opened(path: Path, work: Callable[[Image.Image], T]) -> T | Unreadable:
    """Opens an image and applies a function to it; returns the reason if that fails."""
    try:
        with open_file(path) as file, Image.open(file) as image:
            if image.width * image.height > MAX_PIXELS:  # known before any pixel is decoded
                return Unreadable(f"{image.width} x {image.height} pixels, more than are read")
            if image.mode[0] in "IF":  # a conversion would clip these values to 0 .. 255, not scale them
                return Unreadable("not 8 bits a channel")
            return work(image)
    except MemoryError:
        raise
    except Exception as error:  # decoders may raise anything for a damaged file
        return Unreadable(_reason(error))


def _reason(error: BaseException) -> str:
    if isinstance(error, Refused):
        return _reason(error.__cause__) if error.__cause__ else "no plain file"
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return first_line(error)[:60]


def plain(image: Image.Image) -> DecodedImage:
    """Returns the pixels of an open image, with one channel if it is grey and as RGB otherwise."""
    pixels = np.array(image.convert("L" if _is_grey(image) else "RGB"))
    return DecodedImage(_channels_first(pixels), image.mode, image.size)


def as_shown(image: Image.Image) -> DecodedImage:
    """Returns the pixels of an open image as a viewer shows them, otherwise like `plain`."""
    mode, traits = image.mode, _traits(image)
    image.load()  # of a TIFF file this turns the image, and the orientation is gone afterwards
    turn = UPRIGHT.get(_orientation(image))
    upright: Image.Image = image if turn is None else image.transpose(turn)
    pixels = _over_white(upright) if image.has_transparency_data else None
    if pixels is None:
        return DecodedImage(plain(upright).image, mode, upright.size, traits)
    return DecodedImage(_channels_first(pixels), mode, upright.size, traits | {"transparent"})


def _traits(image: Image.Image) -> frozenset[str]:
    """Returns the traits of an image that is open and not loaded, all but transparency."""
    found = {
        "deep": any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())),
        "profile": bool(image.info.get("icc_profile")),
        "pages": _has_pages(image),
        "turned": _orientation(image) in UPRIGHT,
    }
    return frozenset(name for name, there in found.items() if there)


def _has_pages(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # there is more after the first page, and it is damaged
        return True


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation; 1, which is upright, if there is none that can be read."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # EXIF data of any program, in any state
        return 1


def _over_white(image: Image.Image) -> UInt8[np.ndarray, "..."] | None:
    """Returns the pixels of an image with an alpha channel over white; None if all of it is opaque.

    A channel c with the opacity a becomes (c a + 255 (255 - a)) / 255, rounded half up.
    """
    values = np.array(image.convert("LA" if image.mode == "L" else "RGBA")).astype(np.int64)
    colour, alpha = values[..., :-1], values[..., -1:]
    if (alpha == WHITE).all():
        return None
    blended = ((colour * alpha + WHITE * (WHITE - alpha)) * 2 + WHITE) // (2 * WHITE)
    pixels = blended.astype(np.uint8)
    return pixels[..., 0] if _is_grey(image) else pixels


def _is_grey(image: Image.Image) -> bool:
    return image.mode in ("L", "1")


def _channels_first(pixels: UInt8[np.ndarray, "..."]) -> UInt8[Tensor, "c h w"]:
    tensor = torch.from_numpy(pixels)
    return tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1).contiguous()
