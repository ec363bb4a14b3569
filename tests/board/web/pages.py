"""Records for tests of the web page, and what stands in a page."""

import io
import json
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

from PIL import Image

from condense.board.web.rows import page_values
from condense.protocols import SOFT_V2, WHOLE_V1
from condense.records.record import Paper, Record

Make = Callable[..., Record]
PAPER = Paper(value=48.9, error=0.6, source="A table", verified=False, protocol="1000 epochs, ZCA")


def picture() -> bytes:
    """A picture of 4 x 4 pixels, as PNG."""
    file = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(file, format="PNG")
    return file.getvalue()


class Page(HTMLParser):
    """What a page holds: its elements with their attributes, and the text of each script.

    Attributes:
        elements: Names and attributes of all elements, in order.
        scripts: Attributes and text of each script.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._last = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._last = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._last = ""

    def handle_data(self, data: str) -> None:
        if self._last == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data

    @property
    def values(self) -> dict[str, Any]:
        """The JSON that the page holds."""
        (text,) = (text for attributes, text in self.scripts if attributes.get("id") == "values")
        found = json.loads(text)
        assert isinstance(found, dict)
        return found


def some_records(made: Make, graphs: Make) -> list[Record]:
    """Records of images and graphs: three methods, draws, a reference, and one with too few students."""
    of_cifar: dict[str, Any] = {"dataset": "cifar10"}
    return [
        made("dm", ipc=10, accuracies=(48.1, 48.3, 48.2, 48.7, 48.4), paper=PAPER, **of_cifar),
        made("dsa", ipc=10, accuracies=(60.0,), **of_cifar),
        made("dm", ipc=1, accuracies=(26.1, 26.3, 26.2, 26.7, 26.4), **of_cifar),
        made("dm", ipc=10, accuracies=(55.0,) * 5, protocol=SOFT_V2, teacher="f" * 64, **of_cifar),
        *(
            made("random_subset", ipc=10, seed=seed, accuracies=(30.0 + seed / 7,), **of_cifar)
            for seed in range(10)
        ),
        made(
            "whole",
            ipc=0,
            accuracies=(88.0,) * WHOLE_V1.seeds,
            protocol=WHOLE_V1,
            kind="reference",
            **of_cifar,
        ),
        graphs("mirage", aucs=(70.0, 72.0), ipc=1),
        graphs("random_subset", aucs=(60.0,), ipc=1),
    ]


def values_of(records: list[Record], **pictures: str) -> dict[str, Any]:
    """What the page of some records tells."""
    return page_values(records, folder="results", selecting={"random_subset"}, pictures=pictures)
