"""The words of a table: numbers, sizes, sources and settings, as every table of the board has them."""

from collections.abc import Iterable, Mapping, Sequence

from condense.board.tables import PUBLISHED, TableCell, settings
from condense.records.record import Paper, Record


def accuracy(cell: TableCell) -> str:
    """Mean and half-width: ``88.1 ± 0.5``; of a single value ``88.1 (n=1)``."""
    half = cell.half
    return f"{cell.mean:.1f} (n=1)" if half is None else f"{cell.mean:.1f} ± {half:.1f}"


def of_teacher(record: Record) -> str:
    """A labelling teacher's size, and its accuracy on the part of the training images that it did not see."""
    size = "unknown size" if record.teacher_bytes is None else in_bytes([record.teacher_bytes])
    known = record.teacher_accuracy
    return f"{size}, {'accuracy unknown' if known is None else f'{known:.1f} % on held-out training images'}"


def paper_words(paper: Paper, error: bool = False) -> str:
    """A published number, with its standard deviation if asked for: ``89.7``, ``89.7 ± 0.6†``."""
    spread = f" ± {paper.error:.1f}" if error and paper.error is not None else ""
    return f"{paper.value:.1f}{spread}{'' if paper.verified else '†'}"


def numbered(papers: Sequence[Paper], sources: list[str]) -> list[str]:
    """The numbers of the papers' sources, in the table's list, which grows."""
    numbers = []
    for paper in papers:
        source = f"{paper.source} ({paper.protocol}{'' if paper.verified else '; not verified'})"
        if source not in sources:
            sources.append(source)
        numbers.append(sources.index(source) + 1)
    return [str(number) for number in sorted(set(numbers))]


def notes(sources: Sequence[str]) -> str:
    """The list of sources below a table."""
    if not sources:
        return ""
    lines = "".join(f"{number}. {source}\n" for number, source in enumerate(sources, 1))
    return f"\nSources of the papers' numbers:\n\n{lines}"


def settings_of(cells: Iterable[tuple[str, TableCell]]) -> str:
    """A line for each method and configuration: at which IPCs and seeds, on what, with which fields."""
    lines: dict[tuple[str, str], list[Record]] = {}
    for method, cell in cells:
        for record in cell.records:
            told = " ".join(f"{field}={value}" for field, value in settings(record).items())
            parts = [f"`{told}`" if told else "", record.method.source or ""]
            parts += [f"distilled on {record.set.device}" if record.set else "", _taken_back(record)]
            if record.teacher and record.protocol.name == PUBLISHED:
                parts += [f"labelled by {record.teacher[:8]} ({of_teacher(record)})"]
            lines.setdefault((method, "; ".join(part for part in parts if part)), []).append(record)
    text = "\nSettings:\n\n"
    for (method, told), records in sorted(lines.items()):
        ipcs = ", ".join(str(ipc) for ipc in sorted({record.ipc for record in records}))
        seeds = _ranges({record.seed for record in records})
        where = f"IPC {ipcs}, seed {seeds}" if records[0].kind == "set" else records[0].protocol.name
        text += f"- {method}, {where}{': ' if told else ''}{told}\n"
    return text


def _taken_back(record: Record) -> str:
    """How often a step of the distillation was undone, if any was."""
    count = record.set.rollbacks if record.set else None
    return f"{count} step{'s' if count > 1 else ''} taken back" if count else ""


def _ranges(numbers: Iterable[int]) -> str:
    """Whole numbers in short: ``0-4, 7``."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def units(cell: TableCell) -> str:
    """Over what the interval is: ``10 x 1`` for ten sets with a student each."""
    least, most = min(cell.students), max(cell.students)
    students = str(least) if least == most else f"{least}-{most}"
    count = len(cell.records) if cell.records[0].kind == "set" else "-"
    return f"{count} x {students}"


def counts(cell: TableCell) -> str:
    """Images or graphs stored, and trained on where that is another number: ``100``, ``100->400``."""
    texts = [f"{stored}" if stored == trained else f"{stored}->{trained}" for stored, trained in cell.counts]
    return " or ".join(texts) or "-"


def joined(texts: Sequence[str]) -> str:
    """Texts in their order with strokes between them; one for all where they are the same."""
    return texts[0] if len(set(texts)) == 1 else " / ".join(texts)


def sizes(held: Sequence[Mapping[str, int]], samples: str = "images") -> str:
    """Bytes by part over the IPCs: ``7.8/78 kB + 10/100 B``; parts beyond samples and labels by name.

    Args:
        held: Bytes by part, of an IPC each; empty where there is no set.
        samples: The part that holds the samples.
    """
    if not any(held):
        return "-"
    usual = [samples, "labels"]
    others = {part for size in held for part, count in size.items() if count} - set(usual)
    texts = []
    for part in [*usual, *sorted(others)]:
        counted = [size.get(part, 0) if size else None for size in held]
        texts.append(in_bytes(counted) + ("" if part in usual else f" {part}"))
    return " + ".join(texts)


def in_bytes(sizes: Sequence[int | None]) -> str:
    """Sizes in the unit that fits the largest: ``0.64/6.4 kB``."""
    largest = max(size for size in sizes if size is not None)
    scale, unit = next(
        one
        for one in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "B"))
        if largest >= one[0] or one[0] == 1
    )
    return "/".join("-" if size is None else _figures(size / scale) for size in sizes) + f" {unit}"


def _figures(value: float) -> str:
    """Two or three significant figures, never in exponents."""
    if 0 < value < 0.01:
        return "<0.01"
    if value >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def seconds(time: float | None) -> str:
    """Seconds as a number."""
    return "-" if time is None else _figures(time)


def mebibytes(count: int | None) -> str:
    """Bytes in MiB, as a number."""
    return "-" if count is None else f"{count / 2**20:.0f}"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up in a terminal too."""
    clean = [[text.replace("|", "\\|") for text in row] for row in (head, *rows)]
    widths = [max(3, *(len(row[i]) for row in clean)) for i in range(len(head))]
    lines = ["| " + " | ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)) + " |" for row in clean]
    rule = "| " + " | ".join("-" * width for width in widths) + " |"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"
