"""The command that lists what has a name."""

from typing import Annotated

import typer

from condense.cli.command import RESULTS, command
from condense.cli.layout import page
from condense.cli.names import completing, described, overview
from condense.cli.output import AsJson, write_json

KINDS = ("method", "wrapper", "federated", "dataset", "network", "protocol")


@command(
    name="list",
    group=RESULTS,
    examples=("condense list", "condense list dm+fyi", "condense list cifar10 --json"),
)
def list_(
    name: Annotated[
        str | None,
        typer.Argument(
            help="What to describe: a method, also with wrappers (dm+fyi), a federated algorithm, a "
            "dataset, a network or a protocol.",
            autocompletion=completing(*KINDS),
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the methods, datasets, networks and protocols, or tell all that is known of one."""
    if name is not None:
        found = described(name)
        if as_json:
            return write_json(found)
        return typer.echo("\n\n\n".join(page(one) for one in found))
    every = overview()
    if as_json:
        return write_json(every)
    for one in every:
        federated, of_graphs = (
            one["kind"] == "federated",
            one["data"] == "graphs" and one["kind"] != "protocol",
        )
        word = "method" if federated else one["kind"]
        suffix = " (federated)" if federated else " (graphs)" if of_graphs else ""
        told = f": {one['description']}" if word in ("method", "wrapper") else ""
        typer.echo(f"{word:9} {one['name']}{suffix}{told}")
