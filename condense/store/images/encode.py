"""Compressed images: the images of a set as PNG or JPEG files, one after the other.

Students train on exactly the stored images: a set whose images are compressed holds them as they are read
back, so the loss of a JPEG is part of the set from the start. PNG loses nothing. Another version of the JPEG
library may decode a pixel differently by one; the content hash covers the files, not the decoded pixels.
"""

import math
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from condense.errors import Refused, unknown
from condense.reading import require_plausible, whole_number
from condense.store.images.manifest import EncodingPart

NO_ENCODING = "none"
FORMATS = ("jpeg", "png")
QUALITY = 75
"""Default quality of a JPEG: the default of Pillow, with which the decoupled methods save their images."""


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Compressed images.

    Attributes:
        data: All files, one after the other.
        offsets: The place where each file starts, and the end of the last one, (n + 1,).
    """

    data: UInt8[Tensor, " b"]
    offsets: Int64[Tensor, " n_plus_1"]

    def images(self, shape: tuple[int, ...]) -> UInt8[Tensor, "n c h w"]:
        """Reads the images back.

        Args:
            shape: (c, h, w) of each.

        Raises:
            Refused: if a file is damaged, or its image has another shape.
        """
        ends = self.offsets.tolist()
        if not ends or ends[0] != 0 or ends[-1] != len(self.data) or ends != sorted(ends):
            raise Refused(f"the offsets of the encoded images do not cut their {len(self.data)} bytes")
        require_plausible((len(ends) - 1) * math.prod(shape), len(self.data), "the encoded images")
        images = torch.empty((len(ends) - 1, *shape), dtype=torch.uint8)
        data = self.data.numpy()
        for number, (start, end) in enumerate(zip(ends, ends[1:], strict=False)):
            images[number] = _read_image(data[start:end].tobytes(), shape, f"encoded image {number}")
        return images


def encoding(form: str, quality: int | None = None) -> EncodingPart:
    """Returns a compression as a manifest holds it.

    Args:
        form: One of `FORMATS`.
        quality: Quality of a JPEG, from 1 to 100; None takes `QUALITY`. A PNG has none.

    Raises:
        Refused: if there is no such format or quality.
    """
    if form not in FORMATS:
        raise unknown("image format", form, FORMATS)
    if form == "png":
        if quality is not None:
            raise Refused(f"a PNG loses nothing: quality {quality} makes no sense with it")
        return {"format": form, "quality": None}
    quality = QUALITY if quality is None else quality
    if not 1 <= quality <= 100:
        raise Refused(f"the quality of a JPEG runs from 1 to 100: {quality}")
    return {"format": form, "quality": quality}


def encoding_named(name: str) -> EncodingPart | None:
    """Returns the compression that a method's field names, or None for ``none``.

    Args:
        name: ``none``, ``png``, ``jpeg``, or ``jpeg:90`` for a quality.

    Raises:
        Refused: if there is no such compression.
    """
    if name == NO_ENCODING:
        return None
    form, colon, quality = name.partition(":")
    number = whole_number(quality)
    if form not in FORMATS or (colon and number is None):
        raise unknown(
            "image encoding", name, [NO_ENCODING, *FORMATS, f"jpeg:{QUALITY}"], setting="params.encode"
        )
    return encoding(form, number)


def encode(images: UInt8[Tensor, "n c h w"], how: EncodingPart) -> EncodedImages:
    """Compresses images of one or three channels as `encoding` describes it."""
    files = [_file(image, how) for image in images.cpu()]
    lengths = torch.tensor([0, *(len(file) for file in files)])
    return EncodedImages(torch.frombuffer(bytearray(b"".join(files)), dtype=torch.uint8), lengths.cumsum(0))


def _file(image: UInt8[Tensor, "c h w"], how: EncodingPart) -> bytes:
    pixels, file = image.permute(1, 2, 0).numpy(), BytesIO()
    picture = Image.fromarray(pixels[:, :, 0] if len(image) == 1 else pixels)
    picture.save(file, how["format"], **({} if how["quality"] is None else {"quality": how["quality"]}))
    return file.getvalue()


def _read_image(file: bytes, shape: tuple[int, ...], what: str) -> UInt8[Tensor, "c h w"]:
    try:
        with Image.open(BytesIO(file), formats=("JPEG", "PNG")) as picture:
            # Checked before any pixel is read: an image of the size in the header could fill the memory.
            if (found := (len(picture.getbands()), picture.height, picture.width)) != tuple(shape):
                raise Refused(f"{what} has the shape {found}, not {tuple(shape)}")
            pixels = torch.from_numpy(np.array(picture))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Refused(f"{what} cannot be read: {' '.join(str(error).split())}") from error
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
