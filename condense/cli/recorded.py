"""The commands that read the records."""

from typing import Annotated

import typer

from condense.board.publish import refresh, require_current
from condense.cli.command import command
from condense.cli.options import Options


@command("out", "results")
def leaderboard(
    options: Options,
    check: Annotated[
        bool,
        typer.Option("--check", help="Only check that the board, the records and the stored sets agree."),
    ] = False,
) -> None:
    """Write leaderboard.md and its plots from the records."""
    from condense.errors import Refused

    results = options.results
    if not results.is_dir():
        raise Refused(f"there is no folder {results}; condense run makes records")
    if check:
        from condense.records.audit import audit

        board = require_current(results)
        typer.echo(f"{board} is what the records in {results} give")
        if count := audit(results, [results / "sets", options.out]):
            typer.echo(f"stored sets whose records tell what their files hold: {count}")
        return
    refresh(results, plots=True)
    typer.echo(results.parent / "leaderboard.md")
