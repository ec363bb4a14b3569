"""The command that lists what has a name."""

import typer

from condense.cli.command import command


@command(name="list")
def list_() -> None:
    """List the methods, datasets, networks and protocols."""
    from condense.networks import GRAPH_NETWORKS, network_names
    from condense.protocol import PUBLISHED
    from condense.protocols import PROTOCOLS
    from condense.runner.api import list_datasets, list_methods

    suffix = {"images": "", "graphs": " (graphs)", "federated": " (federated)"}
    for name, kind, description in list_methods().itertuples(index=False):
        word = "wrapper" if name.startswith("+") else "method"
        typer.echo(f"{word:9} {name}{suffix[kind]}: {description}")
    for name, kind in list_datasets().itertuples(index=False):
        typer.echo(f"dataset   {name}{suffix[kind]}")
    for kind, names in (("images", network_names()), ("graphs", GRAPH_NETWORKS)):
        for name in names:
            typer.echo(f"network   {name}{suffix[kind]}")
    for name in [*PROTOCOLS, PUBLISHED]:
        typer.echo(f"protocol  {name}")
