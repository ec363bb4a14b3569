"""The commands that read the records."""

from pathlib import Path
from typing import Annotated

import typer

from condense.board.publish import refresh, require_current
from condense.cli.command import RESULTS, command
from condense.cli.layout import columns
from condense.cli.options import MACHINE, Options
from condense.cli.output import AsJson, write_json


def _require_records(folder: Path) -> None:
    from condense.errors import Refused

    if not folder.is_dir():
        raise Refused(f"there is no folder {folder}; condense run makes records")


@command(
    *("dataset", "method", "ipc", "protocol", "student", "results"),
    name="results",
    group=RESULTS,
    examples=(
        "condense results --dataset cifar10 --ipc 10",
        "condense results --method dm --csv dm.csv",
        "condense results --json > results.json",
    ),
)
def results_(
    options: Options,
    csv: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="Write all columns as CSV to a file, or to standard output."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the recorded results, or some of them: a row for each method, IPC, protocol and student."""
    from condense.board.values import entries_json, rows, selected
    from condense.errors import Refused
    from condense.files import write_atomic
    from condense.records.frame import results as read_results

    if csv is not None and as_json:
        raise Refused("the results are written as CSV or as JSON, not as both")
    _require_records(options.results)
    wanted = {name: getattr(options, name) for name in ("dataset", "method", "ipc", "protocol", "student")}
    entries = selected(read_results(options.results), wanted)
    if as_json:
        return write_json(entries_json(entries))
    if csv is not None:
        text = entries.to_csv(index=False, lineterminator="\n")
        return typer.echo(text, nl=False) if csv == "-" else write_atomic(Path(csv), text)
    shown = rows(entries)
    if shown:
        typer.echo("\n".join(columns([list(shown[0]), *(list(row.values()) for row in shown)], indent=0)))
    typer.echo(f"{len(shown)} rows of {len(entries)} trained networks", err=True)


@command(
    *("out", "results"),
    group=RESULTS,
    examples=(
        "condense leaderboard",
        "condense leaderboard --check",
        "condense leaderboard --html site/",
        "condense leaderboard --json",
    ),
)
def leaderboard(
    options: Options,
    check: Annotated[
        bool,
        typer.Option("--check", help="Only check that the board, the records and the stored sets agree."),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Write nothing but the tables as one JSON document: see docs/json.md."),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write nothing but a web page of all results into a folder; it works without a server.",
        ),
    ] = None,
) -> None:
    """Write leaderboard.md and its plots from the records."""
    results = options.results
    _require_records(results)
    if html is not None:
        return _page(results, html, check or as_json)
    if check:
        from condense.records.audit import audit

        board = require_current(results)
        count = audit(results, [results / "sets", options.out])
        if as_json:
            return write_json({"board": str(board), "current": True, "sets": count})
        typer.echo(f"{board} is what the records in {results} give")
        if count:
            typer.echo(f"stored sets whose records tell what their files hold: {count}")
        return None
    if as_json:
        from condense.board.values import tables_json
        from condense.records.frame import results as read_results

        return write_json(tables_json(read_results(results)))
    refresh(results, plots=True)
    return typer.echo(results.parent / "leaderboard.md")


def _page(results: Path, html: Path, other: bool) -> None:
    from condense.errors import Refused

    if other:
        raise Refused("the page is written alone: leave out --check and --json", setting="html", value=html)
    from condense.board.web.site import write_site
    from condense.distillation.registry import registered

    selecting = {name for (_, name), method in registered().items() if method.keeps_real}
    typer.echo(write_site(results, html, selecting))


@command(
    *("protocol", "student", "teacher", "data_dir", "out", "results", *MACHINE),
    group=RESULTS,
    examples=(
        "condense reproduce fashion-mnist/mtt/ipc1",
        "condense reproduce mutag/mirage/ipc10 --student gin-sum --protocol graph-v2 --full",
        "condense reproduce results/fashion-mnist/RECORD.json --students 3",
    ),
)
def reproduce(
    options: Options,
    row: Annotated[
        str,
        typer.Argument(metavar="ROW", help="DATASET/METHOD/ipcN, or the file of a record."),
    ],
    full: Annotated[bool, typer.Option("--full", help="Distil the set again as well.")] = False,
    students: Annotated[
        int | None, typer.Option(min=1, help="Number of new students; default: the protocol's.")
    ] = None,
) -> None:
    """Train new students for a row of the board, and tell whether it stands; nothing is recorded."""
    from condense.runner.reproduce import find_row
    from condense.runner.reproduce import reproduce as again

    record, records = find_row(row, options.results, options.protocol, options.student)
    found = again(
        record, records, options.paths(), options.machine(), full=full, students=students,
        teacher=options.teacher,
    )  # fmt: skip
    typer.echo(found)
    if not found.stands:
        raise typer.Exit(1)
