"""The application, how a function becomes one of its commands, and how its help is set out.

The help is plain text with a heading for each group of options, on a terminal as in a file: nothing has to be
imported for it, and names of datasets such as ``cifar10[cat,dog]`` are not taken for markup.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from condense.cli.options import EVALUATION, PLACES, SET, with_options

WORK, STORED, RESULTS = "Distil and train", "Stored sets", "Results and names"
"""The groups of commands, in the order of the help."""
ARGUMENTS, OPTIONS, HELP = "Arguments", "Options", "Help"
HEADINGS = (ARGUMENTS, OPTIONS, SET, "Data", EVALUATION, PLACES, HELP)
"""The groups of options, in the order of the help."""
WIDEST = 100
"""Largest number of columns of the help."""


class Command(TyperCommand):
    """A command that notes its options in the context's object, for the sentence of a refusal."""

    examples: tuple[str, ...] = ()

    def invoke(self, ctx: Any) -> Any:
        if ctx.obj is not None:
            ctx.obj.update(ctx.params)
        return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes the arguments, and the options under the names of their groups."""
        records = [
            (_heading(one), record)
            for one in self.get_params(ctx)
            if (record := one.get_help_record(ctx)) is not None
        ]
        _sections(formatter, records, HEADINGS)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Writes the examples, each on a line of its own."""
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class Group(TyperGroup):
    """The application, whose help shows the commands in groups."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        names = self.list_commands(ctx)
        shown: list[tuple[str, Any]] = [(name, self.get_command(ctx, name)) for name in names]
        width = formatter.width - 6 - max(len(name) for name, _ in shown)
        records = [(one.rich_help_panel, (name, one.get_short_help_str(width))) for name, one in shown]
        _sections(formatter, records, (WORK, STORED, RESULTS))


def _heading(parameter: Any) -> str:
    """Returns the heading of a parameter: its group, or that of options of one command alone."""
    if parameter.param_type_name == "argument":
        return ARGUMENTS
    if parameter.name == "help":
        return HELP
    return getattr(parameter, "rich_help_panel", None) or OPTIONS


def _sections(formatter: Any, records: list[tuple[str, tuple[str, str]]], headings: Iterable[str]) -> None:
    for heading in headings:
        if rows := [record for of, record in records if of == heading]:
            with formatter.section(heading):
                formatter.write_dl(rows)


app = typer.Typer(
    name="condense",
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDEST},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def command(
    *names: str, group: str, name: str | None = None, examples: Iterable[str] = ()
) -> Callable[[Callable[..., None]], object]:
    """Registers a function as a command.

    Args:
        *names: Names of the shared options that it takes.
        group: The heading under which the help of the application shows it.
        name: Name of the command; None takes the function's.
        examples: Command lines that its help shows.
    """
    shown = type("Command", (Command,), {"examples": tuple(examples)})
    return lambda function: app.command(name, cls=shown, rich_help_panel=group)(
        with_options(function, names) if names else function
    )


def _tell_version(asked: bool) -> bool:
    if asked:
        from condense import __version__

        typer.echo(f"condense {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_tell_version, is_eager=True),
    ] = False,
) -> None:
    """Dataset distillation of images and graphs: distil, store, evaluate, record and compare."""
