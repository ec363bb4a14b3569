"""The commands that read and write stored sets."""

from pathlib import Path
from typing import Annotated

import typer

from condense.cli.command import STORED, command
from condense.cli.options import MACHINE, NAMED_SET, Options
from condense.cli.output import AsJson, write_json
from condense.cli.resolve import DATA

SetName = Annotated[str, NAMED_SET]


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
    name: SetName,
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
    from condense.catalogue import locate
    from condense.runner.exporting import SUFFIXES, accuracies, export_file
    from condense.store import load

    folder, cell, paths = locate(name), options.cell(), options.paths()
    made = load(folder)
    place = out or Path(f"{folder.resolve().name}{SUFFIXES.get(to, '')}")
    written = export_file(made, to, place, cell, paths)
    for note in written.notes:
        typer.echo(note)
    if check:
        before, after = accuracies(made, to, place, cell, paths, options.machine())
        typer.echo(f"mean accuracy of students: {before:.2f} % before, {after:.2f} % after")
    typer.echo(place)


@command(group=STORED, examples=("condense show fashion-mnist/mtt/ipc1", "condense show sets/NAME --json"))
def show(name: SetName, as_json: AsJson = False) -> None:
    """Print the card of a stored set and where its pictures are."""
    from condense.catalogue import locate
    from condense.store import load

    folder = locate(name)
    made, pictures = load(folder), folder / "gallery.png"
    if as_json:
        facts = {"path": str(folder), "kind": made.kind, "hash": made.hash, "pictures": str(pictures)}
        return write_json({**facts, "content": made.content, "provenance": made.provenance})
    typer.echo(made.card())
    return typer.echo(f"pictures: {pictures}")


@command(group=STORED, examples=("condense verify sets/NAME", "condense verify sets/NAME --json"))
def verify(name: SetName, as_json: AsJson = False) -> None:
    """Recompute the hashes of a stored set, check all that its manifest states, and name what has no hash."""
    from condense.catalogue import locate
    from condense.store import examine

    folder = locate(name)
    found = examine(folder)
    if as_json:
        more = {"unchecked": list(found.unchecked), "unknown": list(found.unknown)}
        return write_json({"path": str(folder), "hash": found.hash, **more})
    typer.echo(f"{folder}: {found.hash}")
    if found.unchecked:
        typer.echo(f"no hash covers {', '.join(found.unchecked)}: the set is of an older version")
    if found.unknown:
        typer.echo(f"unknown to this version, and covered by the hash: {', '.join(found.unknown)}")
    return None


@command(
    group=STORED, examples=("condense push sets/NAME user/digits-dm", "condense show hf://user/digits-dm")
)
def push(
    name: SetName,
    repo: Annotated[str, typer.Argument(metavar="REPO", help="Repository of datasets: user/name.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository private, if it is made here.")
    ] = False,
) -> None:
    """Check a stored set and upload it to the Hugging Face hub; print its address there."""
    from condense.catalogue import locate
    from condense.catalogue.hub import push as upload
    from condense.store import examine

    folder = locate(name)
    typer.echo(upload(examine(folder), folder, repo, private=private))


@command(group=STORED, examples=("condense sets", "condense sets fashion-mnist mtt", "condense sets --json"))
def sets(
    words: Annotated[
        list[str] | None, typer.Argument(help="Parts of names or places: only sets that have all of them.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Also list sets whose files are nowhere: only their hash is known.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the sets that have a name: of the checkout, of runs made here, at home and in the package."""
    from condense.catalogue import find_sets
    from condense.catalogue.known import kept_sets
    from condense.cli.known_sets import as_lines, as_values

    found = find_sets(words or [])
    for refusal in kept_sets()[1]:
        typer.echo(f"left out: {refusal}", err=True)
    if as_json:
        return write_json(as_values(found))
    return typer.echo("\n".join(as_lines(found, every)))
