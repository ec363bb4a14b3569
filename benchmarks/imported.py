"""Published sets of other code bases beside their authors' own figures: ``python benchmarks/imported.py``.

Writes ``imported.md`` from the records of this repository. The sets are not part of it: each record names the
repository and the commit that its set is from, and the hash of the file. ``condense import`` gives the same
run key for the same file, and ``condense evaluate`` the same students.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from condense.records.record import Record, read_record

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "benchmarks" / "imported.md"


@dataclass(frozen=True)
class Stated:
    """What the authors of a set say of it.

    Attributes:
        key: Beginning of the run key of the imported set.
        what: The set in words.
        value: Accuracy in percent.
        error: Its standard deviation, if it is stated.
        by: Where and how it was measured.
        alike: Protocol and student here that come closest to it.
        why: What is different, and what explains the difference.
    """

    key: str
    what: str
    value: float
    error: float | None
    by: str
    alike: tuple[str, str]
    why: str


DC_CODE = "in the file, by its authors' evaluation (ConvNet)"
PAPER = "in the paper, by its own evaluation"

STATED = (
    Stated(
        "08cd9b6c", "DC, .pt file", 26.5, None, DC_CODE, ("published", "convnet"),
        "The same evaluation. The figure is the mean of its authors' networks; DC's paper has 28.3.",
    ),
    Stated(
        "77aaa925", "DC, .pt file", 42.2, None, DC_CODE, ("published", "convnet"),
        "The same evaluation; DC's paper has 44.9.",
    ),
    Stated(
        "81b11474", "DC, picture", 44.9, 0.5, PAPER, ("published", "convnet"),
        "The same evaluation, but the picture holds 8 bits, cut off at black and white. `hard-v1` trains "
        "longer and augments.",
    ),
    Stated(
        "77a85f63", "DM, picture", 48.9, 0.6, PAPER, ("published", "convnet"),
        "The same evaluation, but the picture holds 8 bits, cut off at black and white.",
    ),
    Stated(
        "7593aefc", "RCIG, checkpoint", 53.9, 1.0, PAPER,
        ("published", "convnet-double-nonorm-lecun"),
        "The same evaluation: label vectors, whitened images, a network without norms that starts from "
        "LeCun's weights.",
    ),
    Stated(
        "67a57128", "RFAD, archive", 53.6, None, PAPER, ("hard-v1", "convnet"),
        "Its authors' code trains a network of 1024 channels without norms on the label vectors, subtracts "
        "the outputs that it had at the start, and stops by images held out; here the ConvNet of 128 "
        "channels is trained on the class of the largest number of each vector.",
    ),
    Stated(
        "4e66a23d", "RFAD, archive", 66.3, None, PAPER, ("hard-v1", "convnet"),
        "As at one image per class.",
    ),
)  # fmt: skip


def rows(records: list[Record]) -> Iterator[tuple[Stated, Record, bool]]:
    """Yields each record of each set, and whether its protocol and student come closest to the authors'."""
    for stated in STATED:
        mine = [record for record in records if record.key.startswith(stated.key)]
        for record in sorted(mine, key=lambda one: (one.protocol.name, one.student)):
            yield stated, record, (record.protocol.name, record.student) == stated.alike


def page(records: list[Record]) -> str:
    """Returns the page for the records of imported sets."""
    lines = [
        "# Published sets of other code bases, judged here",
        "",
        "All are sets of CIFAR-10. `python benchmarks/imported.py` writes this page from the records. ± is",
        "the standard deviation of the students. The difference is given where the evaluation comes closest",
        "to that of the set's authors.",
        "",
        "| set | IPC | authors' figure | here | protocol, student | difference |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    told: dict[str, str] = {}
    for stated, record, alike in rows(records):
        accuracies = [entry.accuracy for entry in record.entries]
        mean = fmean(accuracies)
        spread = f" ± {stdev(accuracies):.1f}" if len(accuracies) > 1 else ""
        error = "" if stated.error is None else f" ± {stated.error}"
        place = list(told).index(stated.key) + 1 if stated.key in told else len(told) + 1
        told[stated.key] = f"{stated.value} is stated {stated.by}. {stated.why}"
        asked, by = record.protocol.seeds, f"{record.protocol.name}, {record.student}"
        apart = f"{mean - stated.value:+.1f}" if alike else ""
        few = "" if len(accuracies) >= asked else f", {len(accuracies)} of {asked} students"
        lines.append(
            f"| {stated.what} ({place}) | {record.ipc} | {stated.value}{error} | {mean:.1f}{spread}{few} "
            f"| {by} | {apart} |"
        )
    lines += ["", *(f"{number}. {text}" for number, text in enumerate(told.values(), 1))]
    return "\n".join(lines) + "\n"


def recorded() -> list[Record]:
    """Reads the records of imported sets."""
    return [read_record(path) for path in sorted((ROOT / "results").glob("*/imported-*.json"))]


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page(recorded()))


if __name__ == "__main__":
    main()
