"""The card of a stored set: a README for people who find the folder without condense."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from io import BytesIO

from PIL import Image

from condense.files import canonical
from condense.store.manifest import UNLABELLED, SetContent

Rows = list[tuple[str, str]]
"""The names and values of a card's table."""
THUMBNAIL = 480
"""Largest side of the picture in a notebook, in pixels."""


@dataclass(frozen=True, kw_only=True)
class CardText:
    """The parts of a card that differ between the kinds of data.

    Attributes:
        samples: The set's samples as a noun phrase: ``"10 synthetic images"``.
        student: The network that is trained on them: ``"a network"``.
        test: The data that it should do well on: ``"test images"``.
        pictures: The caption of the gallery.
        pictures_note: A paragraph below the gallery, or nothing.
        rows: The rows of the table that only this kind has.
        loading: The comment behind the line that loads the set with condense.
        loading_note: A paragraph below that code, or nothing.
        reader: Python code that reads the set without condense.
        reader_note: The paragraph below that code.
    """

    samples: str
    student: str
    test: str
    pictures: str
    pictures_note: str = ""
    rows: Rows
    loading: str
    loading_note: str = ""
    reader: str
    reader_note: str


def ipc_text(content: SetContent) -> str:
    """Returns the IPC: ``10``, or ``10 (by class: 1 to 12)`` if samples of each class were asked for."""
    asked = content["counts"].get("asked")
    return f"{content['ipc']}" + (f" (by class: {min(asked)} to {max(asked)})" if asked else "")


def classes_text(content: SetContent) -> str:
    """Returns the number of classes, or that there are none."""
    classes = content["dataset"]["classes"]
    return "without classes" if classes == [UNLABELLED] else f"{len(classes)} classes"


def main_rows(content: SetContent, content_hash: str) -> Rows:
    """Returns the rows that matter most: what was distilled, how, into how much."""
    dataset, counts = content["dataset"], content["counts"]
    sizes = {part: size for part, size in content["bytes"].items() if size}
    parts = ", ".join(f"{part} {size}" for part, size in sizes.items())
    return [
        ("Dataset", f"{dataset['name']}, {classes_text(content)}"),
        ("Method", content["method"]["name"]),
        (
            f"{content['kind'].capitalize()} per class",
            f"{ipc_text(content)}, {counts['stored']} stored, {counts['effective']} trained on",
        ),
        ("Bytes", f"{parts}; {sum(sizes.values())} in all"),
        ("Label kind", content["label"]["kind"]),
        ("Content hash", content_hash),
    ]


def data_notes(provenance: Mapping[str, object]) -> list[str]:
    """Returns what the loader of a set's data noted: see `condense.data.DatasetSpec`."""
    return _notes(provenance, "data_notes")


def import_notes(provenance: Mapping[str, object]) -> list[str]:
    """Returns what was measured and chosen where a set was imported from a file of another code base."""
    return _notes(provenance, "import_notes")


def _notes(provenance: Mapping[str, object], name: str) -> list[str]:
    notes = provenance.get(name)
    return [str(note) for note in notes] if isinstance(notes, list) else []


def write_card(content: SetContent, provenance: Mapping[str, object], text: CardText) -> str:
    """Returns the card in Markdown.

    Args:
        content: The manifest's content, complete.
        provenance: The manifest's provenance, with the hash.
        text: The parts that differ between the kinds of data.
    """
    dataset, method, imported = content["dataset"], content["method"], import_notes(provenance)
    rows = [
        *main_rows(content, f"`{provenance['hash']}`"),
        ("Training set", f"`{dataset['train_hash']}`"),
        *(("Data note", note.replace("|", r"\|")) for note in data_notes(provenance)),
        *(("Import note", note.replace("|", r"\|")) for note in imported),
        ("Source of the file" if imported else "Published recipe", method["source"] or "none"),
        *text.rows,
        ("Distillation seed", str(content["seed"])),
        *(
            (name.capitalize(), str(provenance[name]))
            for name in ("device", "seconds", "time")
            if name in provenance
        ),
    ]
    return _CARD.format(
        title=f"{dataset['name']} distilled by {method['name']}",
        name=dataset["name"],
        text=text,
        how="Imported by" if imported else "Made with",
        table="\n".join(f"| {name} | {' '.join(value.split())} |" for name, value in rows),
        chain="\n".join(
            f"{link['name']} {link['version']}: {canonical(link['config'])}" for link in method["chain"]
        ),
    )


def summary_html(rows: Rows, gallery: Callable[[], bytes]) -> str:
    """Returns a table and a gallery's thumbnail as HTML for a notebook, or why the gallery fails."""
    cells = "".join(
        f"<tr><th style='text-align: left'>{escape(name)}</th>"
        f"<td style='text-align: left'>{escape(value)}</td></tr>"
        for name, value in rows
    )
    try:
        with Image.open(BytesIO(gallery())) as picture:
            small, file = picture.convert("RGB"), BytesIO()
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        small.save(file, format="PNG")
        image = f"<img alt='gallery' src='data:image/png;base64,{b64encode(file.getvalue()).decode()}'>"
    except Exception as error:
        image = f"<p>The gallery cannot be drawn: {escape(str(error))}</p>"
    return f"<div><table>{cells}</table>{image}</div>"


_CARD = """\
# {title}

{text.samples} that stand for the training set of {name}: {text.student} trained on them alone should do
well on the real {text.test}. {how} condense (`pip install -e .` in a checkout of it).

![{text.pictures}](gallery.png)
{text.pictures_note}
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

data = condense.load(".")  # {text.loading}
```
{text.loading_note}
Without condense, from inside this folder:

```python
{text.reader}
```

{text.reader_note}
The order of the classes is `content["dataset"]["classes"]`.

## Check it

`condense verify .` recomputes the content hash. It covers the `content` of `set.json` and every tensor of
`data.safetensors` with its name, type, shape and bytes, and nothing else. Files of stored labels are covered
by their own hashes, which `content` lists.
"""
