"""The command line. Nothing heavy is imported before a command runs: ``--help`` answers at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from condense.options import (
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

if TYPE_CHECKING:
    import torch

    from condense.board.records import Record
    from condense.cells import Cell, Places
    from condense.measure import Budget

app = typer.Typer(
    name="condense",
    help="Dataset distillation, benchmarked: distil, store, retrain students, record, compare.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def run(
    method: Method = None,
    ipc: Ipc = 1,
    dataset: Data = "digits",
    protocol: ProtocolName = None,
    student: Student = "convnet",
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
    from condense.baselines import prepared
    from condense.board.render import table_for
    from condense.cells import run_cell

    where, on, limit = _places(out, results, data_dir), _device(device), _budget(budget)
    wanted = _cell(
        method, ipc, dataset, protocol, student, seed, eval_seeds, size, skip_unreadable, param, teacher
    )
    beside = method is None if baselines is None else baselines
    rows = prepared(wanted, where) if beside else []
    with _board_kept(results):
        shown, *_ = run_cell(wanted, where, on, limit)
        for row in rows:
            run_cell(row, where, on, limit)
    board = _refresh(results)
    typer.echo()
    typer.echo(table_for(board, shown.dataset.name, shown.protocol.name, shown.student, shown.space))


@app.command()
def distill(
    method: Method = None,
    ipc: Ipc = 1,
    dataset: Data = "digits",
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
    from condense.cells import make_set, prepare, say_settings

    where, on, limit = _places(out, Path("results"), data_dir), _device(device), _budget(budget)
    wanted = _cell(method, ipc, dataset, None, "convnet", seed, None, size, skip_unreadable, param, teacher)
    job = prepare(wanted, where, judged=False)
    say_settings(job)
    for one in job.seeds:
        typer.echo(make_set(job, one, where, on, limit)[1])


@app.command()
def evaluate(
    path: Annotated[Path | None, typer.Argument(help="Folder of a stored set.")] = None,
    reference: Annotated[str | None, typer.Option(help="A row without a set: whole.")] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="The data; default: by the name that the set holds.")
    ] = None,
    protocol: ProtocolName = None,
    student: Student = "convnet",
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
    from condense.cells import run_cell
    from condense.errors import Refused, unknown
    from condense.stored import evaluate_set

    if (path is None) == (reference is None):
        raise Refused("evaluate takes the folder of a set, or --reference whole: one of the two")
    if reference not in (None, "whole"):
        raise unknown("reference", str(reference), ["whole"])
    if path is None and teacher is not None:
        raise Refused(f"--teacher {teacher}: the whole training set has class ids of its own")
    where, on, limit = _places(Path("sets"), results, data_dir), _device(device), _budget(budget)
    with _board_kept(results):
        if path is None:
            data = dataset or "digits"
            cell = _cell("whole", 1, data, protocol, student, None, eval_seeds, size, skip_unreadable)
            run_cell(cell, where, on, limit)
        else:
            evaluate_set(
                path, dataset, size, protocol, student, eval_seeds, where, on, limit, skip_unreadable, teacher
            )
    _refresh(results)


@app.command()
def teach(
    dataset: Data = "digits",
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
    from condense.data import load
    from condense.distill.teaching import check_teaching, teach, teacher_training
    from condense.teachers import pin as pin_it

    on, limit = _device(device), _budget(budget)
    _existing(data_dir)
    data = load(dataset, data_dir=data_dir, size=size, skip_unreadable=skip_unreadable)
    training = teacher_training(network, epochs=epochs, lr=lr, batch=batch)
    check_teaching(training, data, out, pin)
    made = teach(training, data, on, limit)
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
    from condense.store.card import card

    found = load(path)
    typer.echo(card(found.content, found.provenance))
    typer.echo(f"pictures: {path / 'gallery.png'}")


@app.command()
def verify(path: Annotated[Path, typer.Argument(help="Folder of a stored set.")]) -> None:
    """Recompute a stored set's content hash and check all that its manifest states."""
    from condense.store import verify as check

    typer.echo(f"{path}: {check(path)}")


@app.command("list")
def list_() -> None:
    """Name the methods, datasets, networks and protocols."""
    from condense.data import NAMES
    from condense.distill.registry import methods, wrappers
    from condense.networks import NETWORKS
    from condense.protocol import PROTOCOLS

    for name, method in methods().items():
        typer.echo(f"method    {name}: {(method.__doc__ or '').strip().splitlines()[0]}")
    for name, wrapper in wrappers().items():
        typer.echo(f"wrapper   +{name}: {(wrapper.__doc__ or '').strip().splitlines()[0]}")
    for name in NAMES:
        typer.echo(f"dataset   {name}")
    for name in NETWORKS:
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
    board = results.parent / "leaderboard.md"
    if check:
        from condense.audit import audit
        from condense.board.render import check as is_current

        if not is_current(results, board):
            raise Refused(f"{board} is not what the records in {results} give; run condense leaderboard")
        typer.echo(f"{board} is what the records in {results} give")
        if count := audit(results, [results / "sets", out]):
            typer.echo(f"stored sets whose records tell what their files hold: {count}")
        return
    _refresh(results, plots=True)
    typer.echo(board)


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
    from condense.cells import run_cell
    from condense.errors import Refused
    from condense.queues import read_queue

    where, on, limit = _places(out, results, data_dir), _device(device), _budget(budget)
    refused, cells = 0, read_queue(queue)
    with _board_kept(results, plots=True):
        for cell in cells:
            if limit.spent():
                raise limit.stop(f"before {cell.title}")
            try:
                run_cell(cell, where, on, limit)
            except Refused as error:
                refused += 1
                typer.echo(f"skipped {cell.title}: {error}", err=True)
    if results.is_dir():
        _refresh(results, plots=True)
    if refused:
        raise Refused(f"{refused} of the {len(cells)} cells of {queue} were skipped")


def _cell(
    method: str | None,
    ipc: int,
    dataset: str,
    protocol: str | None,
    student: str,
    seed: int | None,
    eval_seeds: int | None,
    size: int | None,
    skip_unreadable: bool,
    param: list[str] | None = None,
    teacher: Path | None = None,
) -> "Cell":
    from condense.cells import Cell
    from condense.errors import Refused

    if bad := [text for text in param or [] if "=" not in text]:
        raise Refused(f"--param {bad[0]}: write key=value")
    return Cell(
        method=method or "dm",
        ipc=ipc,
        dataset=dataset,
        protocol=protocol,
        student=student,
        seeds=None if seed is None else (seed,),
        eval_seeds=eval_seeds,
        size=size,
        skip_unreadable=skip_unreadable,
        params=dict(text.split("=", 1) for text in param or []),
        teacher=None if teacher is None else str(teacher),
    )


@contextmanager
def _board_kept(results: Path, plots: bool = False) -> Iterator[None]:
    """Brings the board up to date if the work ends early after it has written records."""
    before = _stamps(results)
    try:
        yield
    except BaseException:
        if _stamps(results) != before:
            _refresh(results, plots)
        raise


def _stamps(results: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in results.glob("*/*.json")}


def _refresh(results: Path, plots: bool = False) -> "list[Record]":
    from condense.board.plots import draw
    from condense.board.records import read_all
    from condense.board.render import render
    from condense.files import write_atomic

    records = read_all(results)
    write_atomic(results.parent / "leaderboard.md", render(records))
    if plots:
        draw(records, results.parent / "plots")
    return records


def _places(out: Path, results: Path, data_dir: Path | None) -> "Places":
    from condense.cells import Places

    _existing(data_dir)
    return Places(out=out, results=results, data_dir=data_dir)


def _existing(data_dir: Path | None) -> None:
    from condense.errors import Refused

    if data_dir is not None and not data_dir.is_dir():
        raise Refused(f"--data-dir {data_dir}: there is no such folder")


def _device(name: str) -> "torch.device":
    import torch

    from condense.errors import Refused

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros((), device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        raise Refused(
            f"--device {name}: there is no such device here; write cpu, cuda, cuda:1 or auto"
        ) from error
    return device


def _budget(text: str | None) -> "Budget":
    from condense.measure import Budget

    return Budget.parse(text)
