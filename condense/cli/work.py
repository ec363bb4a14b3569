"""The commands that distil and train."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from condense.board.publish import kept, refresh
from condense.cli.command import WORK, command
from condense.cli.options import EVALUATION, JUDGING, MACHINE, MAKING, NAMED_SET, PLACES, SPREAD, Options
from condense.cli.resolve import DATA, data_options, sentence


@command(
    *(*MAKING, "clients", *JUDGING, *SPREAD),
    group=WORK,
    examples=(
        "condense run",
        "condense run --method dm+fyi --ipc 10 --dataset fashion-mnist",
        "condense run --method dsa --ipc 10 --dataset cifar10 --protocol published --budget 9m",
        "condense run --method mtt --ipc 10 --on local:4",
    ),
)
def run(
    options: Options,
    baselines: Annotated[
        bool | None,
        typer.Option(
            "--baselines/--no-baselines",
            help="Also fill the rows of random subsets, herding and k-center (under soft labels, "
            "random+expert too; under a transfer protocol, random images and no pretraining). Default: yes, "
            "but not beside a baseline or a reference itself, and without what cannot be made.",
            rich_help_panel=EVALUATION,
        ),
    ] = None,
) -> None:
    """Distil a set, store it, train students on it, record their results and refresh the board.

    Without a method, data or settings, it is a demo of about a minute: DM and the baselines on digits.
    """
    from condense.board.render import table_for
    from condense.evaluation.evaluate import say
    from condense.runner.cell import CellSpec
    from condense.runner.demo import TOLD, demo
    from condense.runner.executors import Where
    from condense.runner.plan import compared
    from condense.runner.run import run_cell
    from condense.runner.spread import spread_cells

    cell, paths, machine = options.cell(), options.paths(), options.machine()
    cells, wanted, required = [cell], baselines in (None, True), baselines is True
    if cell == CellSpec():
        import torch

        torch.set_num_threads(1)  # for so small networks more would only wait for each other
        say(f"{TOLD}; condense run --dataset digits takes the usual settings")
        cells, wanted = demo(baselines is not False), False
    count = 1 if options.on is None else Where.parse(options.on).workers
    with (
        kept(options.results),
        compared(cells, paths, machine, say, workers=count, with_baselines=wanted),
    ):
        if options.on is not None:
            spread_cells(
                cells, paths, machine, options.on, options.device, with_baselines=wanted, required=required
            )
        first, *_ = [
            record
            for one in cells
            for record in run_cell(
                one,
                paths,
                machine,
                with_baselines=wanted,
                required=required,
                announce=lambda line: say(f"{line}; --no-baselines leaves them out"),
            )  # fmt: skip
        ]
    board = refresh(options.results)
    typer.echo()
    typer.echo(table_for(board, first.dataset.name, first.protocol.name, first.student, first.space))


@command(
    *(*MAKING, *MACHINE),
    group=WORK,
    examples=(
        "condense distill --method dm --ipc 10 --param iterations=2000",
        "condense distill --method mirage --dataset nci1 --ipc 10 --out graphs",
    ),
)
def distill(options: Options) -> None:
    """Distil a set and store it, without evaluation and record."""
    from condense.runner.run import distil_cell

    for _, folder in distil_cell(options.cell(), options.paths(), options.machine()):
        typer.echo(folder)


@command(
    *(*DATA, "undirected", *JUDGING, "teacher", *MACHINE),
    group=WORK,
    examples=(
        "condense evaluate sets/NAME --student resnet18 --eval-seeds 3",
        "condense evaluate --reference whole --dataset cifar10",
    ),
)
def evaluate(
    options: Options,
    name: Annotated[str | None, NAMED_SET] = None,
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

    if (name is None) == (reference is None):
        raise Refused("evaluate takes either the folder of a set or a reference, such as --reference whole")
    if reference is not None and reference not in REFERENCES:
        raise unknown("reference", reference, REFERENCES)
    cell, paths, machine = options.cell(reference), options.paths(), options.machine()
    with kept(options.results):
        if name is None:
            run_cell(cell, paths, machine)
        else:
            reevaluate(load(name), cell, paths, machine)
    refresh(options.results)


@command(
    *(*DATA, *MACHINE),
    group=WORK,
    examples=(
        "condense teach --dataset svhn --network convnet-w32-bn --epochs 20 --pin",
        "condense teach --dataset cifar10 --network resnet18-bn --out net.safetensors",
    ),
)
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


@command(
    *("data_dir", "out", "results", *SPREAD),
    group=WORK,
    examples=(
        "condense bench benchmarks/quick.toml",
        "condense bench queue.toml --budget 8h",
        "condense bench queue.toml --on local:4",
        "condense bench queue.toml --shard 1/8",
    ),
)
def bench(
    options: Options,
    queue: Annotated[Path, typer.Argument(help="A TOML file of [[cell]] tables.")],
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Do only the I-th of N parts of the work; processes from 1/N to N/N fill the queue.",
            rich_help_panel=PLACES,
        ),
    ] = None,
) -> None:
    """Fill the cells of a queue in order; results that are recorded already are not made again."""
    from condense.data.load import remembering
    from condense.errors import Failed, Refused, Stopped
    from condense.evaluation.evaluate import say
    from condense.runner.executors import Where
    from condense.runner.faults import refusal
    from condense.runner.plan import compared
    from condense.runner.queue import read_queue
    from condense.runner.run import run_cell
    from condense.runner.spread import Shard, do_units

    machine, paths, results = options.machine(), options.paths(), options.results
    where = None if options.on is None else Where.parse(options.on)
    part = None if shard is None else Shard.parse(shard)
    noted, cells = set[str](), read_queue(queue)
    refused: dict[int, Refused] = {}
    count = 1 if where is None else where.workers
    with (
        kept(results, plots=True),
        remembering(),
        nullcontext() if part else compared(cells, paths, machine, say, workers=count),
    ):
        if where or part:
            refused = do_units(cells, paths, machine, where=where, device=options.device, shard=part)
        for number, cell in enumerate(cells):
            try:
                if number in refused:
                    raise refused[number]
                if part is None:
                    if machine.budget.spent():
                        raise machine.budget.stop(f"before {cell.title}")
                    run_cell(cell, paths, machine, told=noted)
            except Stopped:
                raise
            except Exception as error:
                refused[number] = why = refusal(error, cell)
                if isinstance(why, Failed):
                    say(why.trace)
                told = sentence(why, {**data_options(cell), "data_dir": paths.data_dir})
                typer.echo(f"skipped {cell.title}: {told}", err=True)
    if results.is_dir():
        refresh(results, plots=True)
    if refused:
        raise Refused(f"{len(refused)} of the {len(cells)} cells of {queue} were skipped")
