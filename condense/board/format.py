"""Numbers, sizes, sources and settings as the text that stands in the board's tables."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from textwrap import fill
from typing import Any

from condense.board.asked import lacking
from condense.board.cells import TableCell
from condense.board.tables import Row
from condense.files import unit_for
from condense.protocol import PUBLISHED
from condense.records.record import NO_STUDENT, Paper


def score(cell: TableCell) -> str:
    """Returns mean and half-width, ``88.1 ± 0.5``; for a single value ``88.1 (n=1)``."""
    half = cell.half
    return f"{cell.mean:.1f} (n=1)" if half is None else f"{cell.mean:.1f} ± {half:.1f}"


def score_so_far(cell: TableCell) -> str:
    """Returns the score; where students are missing the mean, and how many there are: ``88.1 (3 of 5)``."""
    few = lacking(cell)
    return f"{cell.mean:.1f} ({few})" if few else score(cell)


def score_and_paper(cell: TableCell, letters: str = "") -> str:
    """Returns score, letters, accuracy if that is another number, and the paper's number.

    With all of them it is ``67.5 ± 0.2 a / 61.3 [68.2†]``.
    """
    accuracy = "" if cell.accuracy is None else f" / {cell.accuracy:.1f}"
    papers = [
        paper_text(paper) + " accuracy" * (bool(accuracy) and paper.protocol.startswith("accuracy"))
        for paper in cell.papers
    ]
    published = f" [{' or '.join(papers)}]" if papers else ""
    return score(cell) + f" {letters}" * bool(letters) + accuracy + published


def paper_text(paper: Paper, error: bool = False) -> str:
    """Returns a published number, on request with its standard deviation: ``89.7``, ``89.7 ± 0.6†``."""
    spread = f" ± {paper.error:.1f}" if error and paper.error is not None else ""
    return f"{paper.value:.1f}{spread}{'' if paper.verified else '†'}"


def teacher_text(entries: Sequence[Any]) -> str:
    """Returns the size and accuracy of the teacher of some entries."""
    taught = TableCell(tuple(entries))
    size, accuracy = taught.largest("teacher_bytes"), taught.largest("teacher_accuracy")
    known = "accuracy unknown" if accuracy is None else f"{accuracy:.1f} % on held-out training images"
    return f"{'unknown size' if size is None else bytes_text([size])}, {known}"


def numbered(papers: Sequence[Paper], sources: list[str]) -> str:
    """Returns the numbers of the papers' sources, and adds sources that are new to the list."""
    numbers = set()
    for paper in papers:
        source = f"{paper.source} ({paper.protocol}{'' if paper.verified else '; not verified'})"
        if source not in sources:
            sources.append(source)
        numbers.add(sources.index(source) + 1)
    return ", ".join(str(number) for number in sorted(numbers)) or "-"


def sources_text(sources: Sequence[str]) -> str:
    """Returns the numbered list of sources that stands below a table."""
    lines = "".join(f"{number}. {source}\n" for number, source in enumerate(sources, 1))
    return f"\nSources of the papers' numbers:\n\n{lines}" if sources else ""


def settings_text(
    rows: Iterable[Row], names: Mapping[Row, str] | None = None, links: Mapping[str, str] | None = None
) -> str:
    """Returns the list of settings that stands below a table.

    Each method has a line for each of its configurations: its IPCs and seeds, its fields, the source of the
    settings, and the device it was distilled on.

    Args:
        rows: The rows of the table.
        names: What rows are called; the method where it is not told.
        links: Links to what is stored of sets, by their hashes.
    """
    lines: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in rows:
        for record in row.sets.records:
            lines[(names or {}).get(row, record.method), _settings(record)].append(record)
    text = "\nSettings:\n\n"
    for (method, told), records in sorted(lines.items()):
        ipcs = ", ".join(str(ipc) for ipc in sorted({record.ipc for record in records}))
        what = "IPC" if records[0].room is None else "bytes"
        if records[0].fraction is not None:
            what, ipcs = "%", ", ".join(f"{part:g}" for part in sorted({100 * r.fraction for r in records}))
        sets = f"{what} {ipcs}, seed {_ranges(record.seed for record in records)}"
        where = records[0].protocol if records[0].reference else sets
        stored = dict.fromkeys((links or {}).get(record.set_hash, "") for record in records)
        text += f"- {method}, {where}{': ' if told else ''}{'; '.join(filter(None, [told, *stored]))}\n"
    return text


def _settings(record: Any) -> str:
    parts = [f"`{record.settings}`" if record.settings else "", record.source]
    parts.append(f"distilled on {record.distil_device}" if record.distil_device else "")
    if count := record.rollbacks:
        parts.append(f"{count} step{'s' if count > 1 else ''} undone")
    if record.teacher and record.protocol == PUBLISHED:
        parts.append(f"labelled by {record.teacher[:8]} ({teacher_text([record])})")
    return "; ".join(part for part in parts if part)


def _ranges(numbers: Iterable[int]) -> str:
    """Returns whole numbers in short: ``0-4, 7``."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def units(cell: TableCell) -> str:
    """Returns the numbers of sets and of students for each: ``10 x 1``; ``- x 3`` for a reference."""
    least, most = min(cell.students), max(cell.students)
    students = str(least) if least == most else f"{least}-{most}"
    return f"{'-' if cell.entries[0].reference else len(cell.students)} x {students}"


def counts(cell: TableCell) -> str:
    """Returns how many samples are stored, and trained on if that number differs: ``100``, ``100->400``."""
    texts = [f"{stored}" if stored == trained else f"{stored}->{trained}" for stored, trained in cell.counts]
    return " or ".join(texts) or "-"


def joined(text: Callable[[TableCell], str], cells: Sequence[TableCell | None]) -> str:
    """Returns the texts of cells with slashes between them, one alone if all are the same, ``-`` for None."""
    texts = [text(cell) if cell else "-" for cell in cells] or ["-"]
    return texts[0] if len(set(texts)) == 1 else " / ".join(texts)


def sizes(cells: Sequence[TableCell | None], samples: str) -> str:
    """Returns bytes by part over the cells of a row: ``7.8/78 kB + 10/100 B + 0/20 MB replay``.

    Args:
        cells: The cells; None where there are no results.
        samples: The part that holds the samples; it comes first and, like the labels, without its name.
    """
    held: list[Mapping[str, int]] = [cell.bytes if cell else {} for cell in cells]
    if not any(held):
        return "-"
    others = {part for size in held for part, count in size.items() if count} - {samples, "labels"}
    texts = [
        bytes_text([size.get(part, 0) if size else None for size in held]) + f" {part}" * (part in others)
        for part in [samples, "labels", *sorted(others)]
    ]
    return " + ".join(texts)


def touched(cells: Sequence[TableCell | None]) -> str:
    """Returns the bytes that trainings without a set read, by cell: ``1.5/7.8 MB``, or ``whole set``."""
    if all(cell is None or cell.largest("touched_whole") is True for cell in cells):
        return "whole set"
    return bytes_text([cell.largest("touched") if cell else None for cell in cells])


def bytes_text(sizes: Sequence[int | None]) -> str:
    """Returns sizes in the unit that fits the largest: ``0.64/6.4 kB``."""
    largest = max(size for size in sizes if size is not None)
    scale, unit = unit_for(largest)
    return "/".join("-" if size is None else _figures(size / scale) for size in sizes) + f" {unit}"


def _figures(value: float) -> str:
    """Returns a number with two or three significant figures, never with an exponent."""
    if 0 < value < 0.01:
        return "<0.01"
    if value >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def size_correlations(row: Row, pooled: Sequence[str]) -> str:
    """Returns the mean correlation with the number of nodes for each kind of pooling: ``-0.92 / 0.10``.

    Args:
        row: The row; one of a reference that trains no network has a single number.
        pooled: The kinds of pooling, with which the names of students end.
    """
    known = {str(name): cell.size_correlation for name, cell in row.cells.items()}
    if NO_STUDENT in known:
        return _mean([known[NO_STUDENT]])
    return " / ".join(_mean([known[name] for name in known if name.endswith(pool)]) for pool in pooled)


def _mean(values: Sequence[float | None]) -> str:
    told = [value for value in values if value is not None]
    return f"{fmean(told):.2f}" if told else "-"


def dense_bytes(cell: TableCell) -> str:
    """Returns the size of the largest set as dense floats."""
    size = cell.largest("dense_bytes")
    return "-" if size is None else bytes_text([size])


def seconds(cell: TableCell) -> str:
    """Returns the mean time of the distillations in seconds."""
    return "-" if cell.seconds is None else _figures(cell.seconds)


def mebibytes(cell: TableCell) -> str:
    """Returns the largest peak memory of the distillations in MiB."""
    peak = cell.largest("peak_bytes")
    return "-" if peak is None else f"{peak / 2**20:.0f}"


def wrapped(text: str, indent: str = "") -> str:
    """Returns a paragraph in lines of at most 120 characters, of which those after the first are indented."""
    return fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], *, aligned: bool = True) -> str:
    """Returns a Markdown table; if `aligned`, its columns line up in a terminal too, which takes bytes."""
    clean = [[text.replace("|", "\\|") for text in row] for row in (head, *rows)]
    widths = [max(3, *(len(row[i]) for row in clean)) if aligned else 0 for i in range(len(head))]
    lines = ["| " + " | ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)) + " |" for row in clean]
    rule = "| " + " | ".join("-" * max(3, width) for width in widths) + " |"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"
