"""A picture of stored sets: a row for each method, and a column for each class of one dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from condense.board.catalogue import INDEX
from condense.board.datasets import DatasetResults
from condense.board.format import wrapped
from condense.board.overview import Shown
from condense.board.plot_files import DATA
from condense.files import digest

STRIP = "strip.png"
"""The name of the picture, in the folder of the stored sets."""
LEAST, MOST = 2, 12
"""Fewer methods are not shown, and of more the best ones."""
LARGEST = 150_000
"""Bytes that the file stays below."""
COLOURS = (256, 128, 64, 32, 16)
DRAWING = 1
"""Rises with every change of what the picture looks like."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """What the picture shows.

    Attributes:
        title: The dataset.
        measured: The protocol and the student network of the scores.
        rows: A label for each method, which is its name and its score, and the folder of its set.
        hashes: The content hashes of the sets.
    """

    title: str
    measured: str
    rows: tuple[tuple[str, str], ...]
    hashes: tuple[str, ...]

    @property
    def data(self) -> str:
        """The hash of all that the picture depends on."""
        return digest([DRAWING, self.rows, self.hashes])

    def markdown(self, place: str) -> str:
        """Returns a link to the picture, and what it shows.

        Args:
            place: The path of the picture's folder from the page.
        """
        text = (
            f"{self.title}, one stored image per class, by the method that made them; behind its name the "
            f"test accuracy in percent of networks trained on these images alone ({self.measured}). "
            f"[All stored sets]({place}/{INDEX})."
        )
        alt = f"Images of {self.title} that {len(self.rows)} methods made"
        return f'<img src="{place}/{STRIP}" alt="{alt}" width="560">\n\n{wrapped(text)}\n'


def strip_of(results: Sequence[DatasetResults], folders: Mapping[str, str]) -> Strip | None:
    """Returns what the picture shows; None if there are not enough stored sets.

    It is the dataset of which most methods have a set of one image per class, of several the first. The set
    of a method is that of its best setting of which one is stored, by the score on the front page.

    Args:
        results: The results on each dataset, in order.
        folders: The folders of stored sets by their content hashes.
    """
    found = [made for one in results if one.kind == "images" and (made := _strip(one, folders))]
    return max(found, key=lambda one: len(one.rows), default=None)


def _strip(one: DatasetResults, folders: Mapping[str, str]) -> Strip | None:
    if not one.overviews or one.overviews[0].key.space != "normalized":  # whitened images show no colours
        return None
    overview = one.shown[0]
    cells = [cell for spot in overview.spots if spot.ipc == 1 for cell in overview.every[spot]]
    best: dict[str, tuple[Shown, str]] = {}
    for cell in sorted(cells, key=lambda cell: (not cell.complete, -cell.mean, cell.row.name)):
        records = cell.row.cells[1].records if 1 in cell.row.cells else []
        stored = [record.set_hash for record in records if record.set_hash in folders]
        if stored:
            best.setdefault(cell.row.method, (cell, stored[0]))
    if len(best) < LEAST:
        return None
    shown = list(best.values())[:MOST]
    key = overview.table.key
    return Strip(
        title=one.title,
        measured=f"`{key.protocol}`, `{key.student}`",
        rows=tuple((f"{one.names[cell.row]}  {cell.mean:.1f}", folders[content]) for cell, content in shown),
        hashes=tuple(content for _, content in shown),
    )


def draw_strip(strip: Strip, sets: Path) -> bytes:
    """Returns the picture as a PNG file, with the hash of what it shows.

    Args:
        strip: What it shows.
        sets: The folder of the stored sets.
    """
    import torch
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from condense.store.images.gallery import COLUMNS, draw_images
    from condense.store.images.image_set import ImageSet

    rows = []
    for _, folder in strip.rows:
        made = ImageSet.load(sets / folder)
        first = [
            int((made.labels == label).nonzero()[0]) for label in sorted({*made.labels.tolist()})[:COLUMNS]
        ]
        rows.append(made.pixels()[first])
    numbers = torch.arange(len(rows)).repeat_interleave(torch.tensor([len(row) for row in rows]))
    drawn = draw_images(torch.cat(rows), numbers, [label for label, _ in strip.rows])
    about = PngInfo()
    about.add_text(DATA, strip.data)
    picture = Image.open(BytesIO(drawn))
    for colours in COLOURS:
        out = BytesIO()
        picture.quantize(colours).save(out, "png", optimize=True, pnginfo=about)
        if out.tell() < LARGEST:
            break
    return out.getvalue()
