"""The application, and how a function becomes one of its commands."""

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand

from condense.cli.options import with_options


class Command(TyperCommand):
    """A command that notes its options in the context's object, for the sentence of a refusal."""

    def invoke(self, ctx: Any) -> Any:
        if ctx.obj is not None:
            ctx.obj.update(ctx.params)
        return super().invoke(ctx)


app = typer.Typer(
    name="condense",
    help="Dataset distillation of images and graphs: distil, store, evaluate, record and compare.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def command(*names: str, name: str | None = None) -> Callable[[Callable[..., None]], object]:
    """Registers a function as a command, which takes the shared options with these names."""
    return lambda function: app.command(name, cls=Command)(
        with_options(function, names) if names else function
    )
