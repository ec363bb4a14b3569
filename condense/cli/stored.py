"""The commands that read and write stored sets."""

from pathlib import Path
from typing import Annotated

import typer

from condense.cli.command import STORED, command
from condense.cli.options import MACHINE, Options
from condense.cli.output import AsJson, write_json
from condense.cli.resolve import DATA


@command(
    *(*DATA, "method", "ipc", "out"),
    name="import",
    group=STORED,
    examples=(
        "condense import res_DC_CIFAR10_ConvNet_10ipc.pt --from dc --method dc --dataset cifar10",
        "condense import images_best.pt --from mtt --method mtt --dataset cifar100",
    ),
)
def import_(
    options: Options,
    path: Annotated[Path, typer.Argument(help="The file, or the folder of pictures.")],
    kind: Annotated[
        str,
        typer.Option(
            "--from", help="Kind of file: dc, mtt, tensors, frepo, rcig, kip, rfad, grid or folder."
        ),
    ],
    space: Annotated[
        str | None,
        typer.Option(
            help="Pixel space: raw, normalized, normalized-dc, zca or zca-relative; default: measured."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="File of the labels, or rows: the images are in the order of the classes."),
    ] = None,
    labels_are: Annotated[
        str | None, typer.Option(help="What k numbers an image are: probabilities, logits or vectors.")
    ] = None,
    trust_labels: Annotated[
        bool, typer.Option("--trust-labels", help="Take labels that do not fit the images.")
    ] = False,
    experiment: Annotated[int | None, typer.Option(help="Number of the experiment in a file of dc.")] = None,
    tile: Annotated[
        int | None, typer.Option(help="Side of the images of a grid; default: the dataset's.")
    ] = None,
    padding: Annotated[int, typer.Option(help="Pixels between the images of a grid.")] = 2,
    source: Annotated[str | None, typer.Option(help="Where the file is from: an address.")] = None,
) -> None:
    """Store a distilled set of another code base; nothing in its file is executed."""
    from condense.runner.foreign import import_file
    from condense.store.foreign import Asked, Origin

    asked = Asked(labels=labels, labels_are=labels_are, experiment=experiment, tile=tile, padding=padding)
    made, folder = import_file(
        path, Origin(kind, options.method, source), options.cell(), options.paths(), asked,
        space=space, ipc=options.ipc, trusted=trust_labels,
    )  # fmt: skip
    for note in made.import_notes:
        typer.echo(note)
    typer.echo(folder)


@command(
    *(*DATA, "student", "protocol", "eval_seeds", *MACHINE),
    group=STORED,
    examples=("condense export sets/NAME", "condense export sets/NAME --to imagefolder --out pictures"),
)
def export(
    options: Options,
    path: Annotated[Path, typer.Argument(help="Folder of a stored set.")],
    to: Annotated[
        str, typer.Option(help="npz, pt, imagefolder, grid, webdataset, hf; of graphs: pt, tudataset.")
    ] = "npz",
    out: Annotated[
        Path | None, typer.Option(help="File or folder to write; default: named after the set, here.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Train students before and after, and tell both accuracies.")
    ] = False,
) -> None:
    """Write a stored set in another form, and tell what is lost."""
    from condense.runner.exporting import SUFFIXES, accuracies, export_file
    from condense.store import load

    made, cell, paths = load(path), options.cell(), options.paths()
    place = out or Path(f"{path.resolve().name}{SUFFIXES.get(to, '')}")
    written = export_file(made, to, place, cell, paths)
    for note in written.notes:
        typer.echo(note)
    if check:
        before, after = accuracies(made, to, place, cell, paths, options.machine())
        typer.echo(f"mean accuracy of students: {before:.2f} % before, {after:.2f} % after")
    typer.echo(place)


@command(group=STORED, examples=("condense show sets/NAME", "condense show sets/NAME --json"))
def show(
    path: Annotated[Path, typer.Argument(help="Folder of a stored set.")], as_json: AsJson = False
) -> None:
    """Print the card of a stored set and where its pictures are."""
    from condense.store import load

    made, pictures = load(path), path / "gallery.png"
    if as_json:
        facts = {"path": str(path), "kind": made.kind, "hash": made.hash, "pictures": str(pictures)}
        return write_json({**facts, "content": made.content, "provenance": made.provenance})
    typer.echo(made.card())
    return typer.echo(f"pictures: {pictures}")


@command(group=STORED, examples=("condense verify sets/NAME", "condense verify sets/NAME --json"))
def verify(
    path: Annotated[Path, typer.Argument(help="Folder of a stored set.")], as_json: AsJson = False
) -> None:
    """Recompute the hashes of a stored set, check all that its manifest states, and name what has no hash."""
    from condense.store import examine

    found = examine(path)
    if as_json:
        more = {"unchecked": list(found.unchecked), "unknown": list(found.unknown)}
        return write_json({"path": str(path), "hash": found.hash, **more})
    typer.echo(f"{path}: {found.hash}")
    if found.unchecked:
        typer.echo(f"no hash covers {', '.join(found.unchecked)}: the set is of an older version")
    if found.unknown:
        typer.echo(f"unknown to this version, and covered by the hash: {', '.join(found.unknown)}")
    return None
