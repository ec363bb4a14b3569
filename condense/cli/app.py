"""The command line. Nothing heavy is imported before a command runs: ``--help`` answers at once."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from condense.board.publish import kept, refresh, require_current
from condense.cli.options import JUDGING, MACHINE, MAKING, Options, with_options
from condense.cli.resolve import DATA, data_options, sentence


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


@command(*MAKING, "clients", *JUDGING, *MACHINE)
def run(
    options: Options,
    baselines: Annotated[
        bool | None,
        typer.Option(
            "--baselines/--no-baselines",
            help="Also fill the random, herding and k-center rows (under soft labels, random+expert too); "
            "default: only if no --method is given. Under a transfer protocol, random images and no "
            "pretraining; default: yes.",
        ),
    ] = None,
) -> None:
    """Distil a set, store it, train students on it, record their results and refresh the board."""
    from condense.board.render import table_for
    from condense.runner.run import run_cell

    with_baselines = True if baselines is None and options.method is None else baselines
    with kept(options.results):
        first, *_ = run_cell(
            options.cell(), options.paths(), options.machine(), with_baselines=with_baselines
        )
    board = refresh(options.results)
    typer.echo()
    typer.echo(table_for(board, first.dataset.name, first.protocol.name, first.student, first.space))


@command(*MAKING, *MACHINE)
def distill(options: Options) -> None:
    """Distil a set and store it, without evaluation and record."""
    from condense.runner.run import distil_cell

    for _, folder in distil_cell(options.cell(), options.paths(), options.machine()):
        typer.echo(folder)


@command(*DATA, "undirected", *JUDGING, "teacher", *MACHINE)
def evaluate(
    options: Options,
    path: Annotated[Path | None, typer.Argument(help="Folder or name of a stored set.")] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="A row without a set: whole, majority, no_pretraining; for graphs num_nodes..."),
    ] = None,
) -> None:
    """Train students on a stored set, or make a reference row, and record the results."""
    from condense.catalogue import load
    from condense.errors import Refused, unknown
    from condense.runner.cell import REFERENCES
    from condense.runner.reevaluate import reevaluate
    from condense.runner.run import run_cell

    if (path is None) == (reference is None):
        raise Refused("evaluate takes either the folder of a set or a reference, such as --reference whole")
    if reference is not None and reference not in REFERENCES:
        raise unknown("reference", reference, REFERENCES)
    cell, paths, machine = options.cell(reference), options.paths(), options.machine()
    with kept(options.results):
        if path is None:
            run_cell(cell, paths, machine)
        else:
            reevaluate(load(path), cell, paths, machine)
    refresh(options.results)


@command(*DATA, *MACHINE)
def teach(
    options: Options,
    network: Annotated[str, typer.Option(help="Network that is trained.")] = "convnet-bn",
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 200,
    lr: Annotated[float, typer.Option(help="Learning rate at the first step; it falls to 0.")] = 0.1,
    batch: Annotated[int, typer.Option(help="Images per step.")] = 128,
    out: Annotated[Path | None, typer.Option(help="The .safetensors file to write.")] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Make it the fixed teacher of the data.")] = False,
) -> None:
    """Train a teacher: for --teacher, or, if pinned, for protocols under which a teacher labels."""
    from condense.data import load_images, with_classes
    from condense.evaluation.evaluate import tell_notes
    from condense.teachers import pin as pin_it
    from condense.teachers.training import check_teaching, teach, teacher_training

    machine, folder = options.machine(), options.paths().data_dir
    data = load_images(
        options.dataset or "digits", data_dir=folder, size=options.size,
        skip_unreadable=options.skip_unreadable,
    )  # fmt: skip
    if (classes := options.cell().classes) is not None:
        data = with_classes(data, classes)
    if options.augment is not None:
        data = data.augmented(options.augment)
    training = teacher_training(network, epochs=epochs, lr=lr, batch=batch)
    check_teaching(training, data, out, pin)
    tell_notes(data)
    made = teach(training, data, machine)
    held = "unknown" if made.accuracy is None else f"{made.accuracy:.2f} %"
    typer.echo(f"{made.name} on {made.dataset}: {held} of held-out training images, {made.nbytes} bytes")
    typer.echo(f"hash: {made.hash}")
    if out is not None:
        made.save(out)
        typer.echo(f"file: {out}")
    if pin:
        typer.echo(f"pinned: {pin_it(made)}")


@command(*DATA, "method", "ipc", "out", name="import")
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


@command(*DATA, "student", "protocol", "eval_seeds", *MACHINE)
def export(
    options: Options,
    path: Annotated[Path, typer.Argument(help="Folder or name of a stored set.")],
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

    folder, cell, paths = locate(path), options.cell(), options.paths()
    made = load(folder)
    place = out or Path(f"{folder.resolve().name}{SUFFIXES.get(to, '')}")
    written = export_file(made, to, place, cell, paths)
    for note in written.notes:
        typer.echo(note)
    if check:
        before, after = accuracies(made, to, place, cell, paths, options.machine())
        typer.echo(f"mean accuracy of students: {before:.2f} % before, {after:.2f} % after")
    typer.echo(place)


@command()
def show(path: Annotated[Path, typer.Argument(help="Folder or name of a stored set.")]) -> None:
    """Print the card of a stored set and where its pictures are."""
    from condense.catalogue import locate
    from condense.store import load

    folder = locate(path)
    typer.echo(load(folder).card())
    typer.echo(f"pictures: {folder / 'gallery.png'}")


@command()
def verify(path: Annotated[Path, typer.Argument(help="Folder or name of a stored set.")]) -> None:
    """Recompute the hashes of a stored set, check all that its manifest states, and name what has no hash."""
    from condense.catalogue import locate
    from condense.store import examine

    folder = locate(path)
    found = examine(folder)
    typer.echo(f"{folder}: {found.hash}")
    if found.unchecked:
        typer.echo(f"no hash covers {', '.join(found.unchecked)}: the set is of an older version")
    if found.unknown:
        typer.echo(f"unknown to this version, and covered by the hash: {', '.join(found.unknown)}")


@command()
def sets(
    words: Annotated[
        list[str] | None, typer.Argument(help="Parts of names or places: only sets that have all of them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the entries as JSON.")] = False,
) -> None:
    """List the sets that have a name: in the checkout, in the home folder and in the package."""
    from condense.catalogue import find_sets
    from condense.catalogue.known import kept_sets
    from condense.cli.listing import as_lines, as_values
    from condense.files import canonical

    found = find_sets(words or [])
    for refusal in kept_sets()[1]:
        typer.echo(f"left out: {refusal}", err=True)
    typer.echo(canonical(as_values(found), indent=1) if as_json else "\n".join(as_lines(found)))


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


@command("data_dir", "out", "results", *MACHINE)
def bench(
    options: Options, queue: Annotated[Path, typer.Argument(help="A TOML file of [[cell]] tables.")]
) -> None:
    """Fill the cells of a queue in order; results that are recorded already are not made again."""
    from condense.errors import Refused
    from condense.runner.queue import read_queue
    from condense.runner.run import run_cell

    machine, paths, results = options.machine(), options.paths(), options.results
    refused, noted, cells = 0, set[str](), read_queue(queue)
    with kept(results, plots=True):
        for cell in cells:
            if machine.budget.spent():
                raise machine.budget.stop(f"before {cell.title}")
            try:
                run_cell(cell, paths, machine, told=noted)
            except Refused as error:
                refused += 1
                told = sentence(error, {**data_options(cell), "data_dir": paths.data_dir})
                typer.echo(f"skipped {cell.title}: {told}", err=True)
    if results.is_dir():
        refresh(results, plots=True)
    if refused:
        raise Refused(f"{refused} of the {len(cells)} cells of {queue} were skipped")
