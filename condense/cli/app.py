"""The command line. Nothing heavy is imported before a command runs: ``--help`` answers at once."""

from pathlib import Path
from typing import Annotated

import typer

from condense.board.publish import kept, refresh, require_current
from condense.cli.options import (
    BudgetText,
    Data,
    DataDir,
    DeviceName,
    EvalSeeds,
    Ipc,
    Method,
    Out,
    Param,
    ProtocolName,
    Results,
    Seed,
    Size,
    Skip,
    Student,
    TeacherFile,
)
from condense.cli.resolve import budget_of, cell_of, device_of, existing, places_of

app = typer.Typer(
    name="condense",
    help="Dataset distillation of images and graphs: distil, store, retrain students, record, compare.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def run(
    method: Method = None,
    ipc: Ipc = 1,
    dataset: Data = None,
    protocol: ProtocolName = None,
    student: Student = None,
    seed: Seed = None,
    eval_seeds: EvalSeeds = None,
    size: Size = None,
    skip_unreadable: Skip = False,
    param: Param = None,
    teacher: TeacherFile = None,
    baselines: Annotated[
        bool | None,
        typer.Option(
            "--baselines/--no-baselines",
            help="Also fill the random, herding and k-center rows; default only where no --method is given.",
        ),
    ] = None,
    budget: BudgetText = None,
    device: DeviceName = "auto",
    data_dir: DataDir = None,
    out: Out = Path("sets"),
    results: Results = Path("results"),
) -> None:
    """Distil a set, store it, retrain students on it, record, and refresh the board."""
    from condense.board.render import table_for
    from condense.runner.baselines import prepared, roomy
    from condense.runner.cell import run_cell

    where, on, limit = places_of(out, results, data_dir), device_of(device), budget_of(budget)
    wanted = cell_of(
        method, ipc, dataset, protocol, student, seed, eval_seeds, size, skip_unreadable, param, teacher
    )
    beside = method is None if baselines is None else baselines
    rows = prepared(wanted, where) if beside else []
    with kept(results):
        shown, *others = run_cell(wanted, where, on, limit)
        for row in [*rows, *(roomy(wanted, [shown, *others]) if beside else [])]:
            run_cell(row, where, on, limit)
    board = refresh(results)
    typer.echo()
    typer.echo(table_for(board, shown.dataset.name, shown.protocol.name, shown.student, shown.space))


@app.command()
def distill(
    method: Method = None,
    ipc: Ipc = 1,
    dataset: Data = None,
    seed: Seed = None,
    size: Size = None,
    skip_unreadable: Skip = False,
    param: Param = None,
    teacher: TeacherFile = None,
    budget: BudgetText = None,
    device: DeviceName = "auto",
    data_dir: DataDir = None,
    out: Out = Path("sets"),
) -> None:
    """Distil a set and store it; no evaluation, no record."""
    from condense.runner.cell import make_set, prepare, say_settings

    where, on, limit = places_of(out, Path("results"), data_dir), device_of(device), budget_of(budget)
    wanted = cell_of(method, ipc, dataset, None, None, seed, None, size, skip_unreadable, param, teacher)
    job = prepare(wanted, where, judged=False)
    say_settings(job)
    for one in job.seeds:
        typer.echo(make_set(job, one, where, on, limit)[1])


@app.command()
def evaluate(
    path: Annotated[Path | None, typer.Argument(help="Folder of a stored set.")] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="A row without a set: whole, majority; of graphs num_nodes and more."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="The data; default: by the name that the set holds.")
    ] = None,
    protocol: ProtocolName = None,
    student: Student = None,
    eval_seeds: EvalSeeds = None,
    size: Size = None,
    skip_unreadable: Skip = False,
    teacher: Annotated[
        Path | None, typer.Option("--teacher", help="File of the teacher that the set was made with.")
    ] = None,
    budget: BudgetText = None,
    device: DeviceName = "auto",
    data_dir: DataDir = None,
    results: Results = Path("results"),
) -> None:
    """Retrain students on a stored set, or make a reference row, and record."""
    from condense.errors import Refused, unknown
    from condense.evaluation import REFERENCES
    from condense.runner.cell import run_cell
    from condense.runner.reevaluate import reevaluate

    known = ["whole", *REFERENCES]
    if (path is None) == (reference is None):
        raise Refused("evaluate takes the folder of a set, or --reference whole: one of the two")
    if reference is not None and reference not in known:
        raise unknown("reference", reference, known)
    if path is None and teacher is not None:
        raise Refused(f"--teacher {teacher}: {reference} goes by the class ids of the data")
    where, on, limit = places_of(Path("sets"), results, data_dir), device_of(device), budget_of(budget)
    with kept(results):
        if path is None:
            cell = cell_of(reference, 1, dataset, protocol, student, None, eval_seeds, size, skip_unreadable)
            run_cell(cell, where, on, limit)
        else:
            reevaluate(
                path, dataset, size, protocol, student, eval_seeds, where, on, limit, skip_unreadable, teacher
            )
    refresh(results)


@app.command()
def teach(
    dataset: Annotated[
        str, typer.Option("--dataset", help="A name (condense list), a .npz file or an image folder.")
    ] = "digits",
    network: Annotated[str, typer.Option(help="Its structure.")] = "convnet-bn",
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 200,
    lr: Annotated[float, typer.Option(help="Learning rate at the first step; it goes to 0.")] = 0.1,
    batch: Annotated[int, typer.Option(help="Images a step.")] = 128,
    out: Annotated[Path | None, typer.Option(help="The .safetensors file to write.")] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Make it the fixed teacher of these data.")] = False,
    size: Size = None,
    skip_unreadable: Skip = False,
    budget: BudgetText = None,
    device: DeviceName = "auto",
    data_dir: DataDir = None,
) -> None:
    """Train a teacher on the training images: for --teacher, or, pinned, for protocols that label."""
    from condense.data import load_images
    from condense.resources import Machine
    from condense.teachers import pin as pin_it
    from condense.teachers.training import check_teaching, teach, teacher_training

    on, limit = device_of(device), budget_of(budget)
    existing(data_dir)
    data = load_images(dataset, data_dir=data_dir, size=size, skip_unreadable=skip_unreadable)
    training = teacher_training(network, epochs=epochs, lr=lr, batch=batch)
    check_teaching(training, data, out, pin)
    made = teach(training, data, Machine(on, limit))
    held = "unknown" if made.accuracy is None else f"{made.accuracy:.2f} %"
    typer.echo(f"{made.name} on {made.dataset}: {held} of held-out training images, {made.nbytes} bytes")
    typer.echo(f"hash: {made.hash}")
    if out is not None:
        made.save(out)
        typer.echo(f"file: {out}")
    if pin:
        typer.echo(f"pinned: {pin_it(made)}")


@app.command()
def show(path: Annotated[Path, typer.Argument(help="Folder of a stored set.")]) -> None:
    """Say what a stored set is: its card and where its pictures are."""
    from condense.store import load

    typer.echo(load(path).card())
    typer.echo(f"pictures: {path / 'gallery.png'}")


@app.command()
def verify(path: Annotated[Path, typer.Argument(help="Folder of a stored set.")]) -> None:
    """Recompute a stored set's content hash and check all that its manifest states."""
    from condense.store import verify as check

    typer.echo(f"{path}: {check(path)}")


@app.command("list")
def list_() -> None:
    """Name the methods, datasets, networks and protocols."""
    from condense.data import GRAPH_NAMES, IMAGE_NAMES
    from condense.distillation.registry import methods, wrappers
    from condense.networks import GRAPH_NETWORKS, NETWORKS
    from condense.protocol import PROTOCOLS

    for kind, of in (("images", ""), ("graphs", " (graphs)")):
        for name, method in methods(kind).items():
            typer.echo(f"method    {name}{of}: {(method.__doc__ or '').strip().splitlines()[0]}")
    for name, wrapper in wrappers().items():
        typer.echo(f"wrapper   +{name}: {(wrapper.__doc__ or '').strip().splitlines()[0]}")
    for name in [*IMAGE_NAMES, *(f"{name} (graphs)" for name in GRAPH_NAMES)]:
        typer.echo(f"dataset   {name}")
    for name in [*NETWORKS, *(f"{name} (graphs)" for name in GRAPH_NETWORKS)]:
        typer.echo(f"network   {name}")
    for name in [*PROTOCOLS, "published"]:
        typer.echo(f"protocol  {name}")


@app.command()
def leaderboard(
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether board, records and sets at hand agree.")
    ] = False,
    out: Out = Path("sets"),
    results: Results = Path("results"),
) -> None:
    """Write leaderboard.md and its plots from the records."""
    from condense.errors import Refused

    if not results.is_dir():
        raise Refused(f"there is no folder {results}; condense run makes records")
    if check:
        from condense.records.audit import audit

        board = require_current(results)
        typer.echo(f"{board} is what the records in {results} give")
        if count := audit(results, [results / "sets", out]):
            typer.echo(f"stored sets whose records tell what their files hold: {count}")
        return
    refresh(results, plots=True)
    typer.echo(results.parent / "leaderboard.md")


@app.command()
def bench(
    queue: Annotated[Path, typer.Argument(help="A TOML file of [[cell]] tables, the worthiest first.")],
    budget: BudgetText = None,
    device: DeviceName = "auto",
    data_dir: DataDir = None,
    out: Out = Path("sets"),
    results: Results = Path("results"),
) -> None:
    """Fill a queue's cells in order: what the records hold is skipped, each result written at once."""
    from condense.errors import Refused
    from condense.runner.cell import run_cell
    from condense.runner.queue import read_queue

    where, on, limit = places_of(out, results, data_dir), device_of(device), budget_of(budget)
    refused, cells = 0, read_queue(queue)
    with kept(results, plots=True):
        for cell in cells:
            if limit.spent():
                raise limit.stop(f"before {cell.title}")
            try:
                run_cell(cell, where, on, limit)
            except Refused as error:
                refused += 1
                typer.echo(f"skipped {cell.title}: {error}", err=True)
    if results.is_dir():
        refresh(results, plots=True)
    if refused:
        raise Refused(f"{refused} of the {len(cells)} cells of {queue} were skipped")
