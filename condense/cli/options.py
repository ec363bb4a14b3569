"""The options that several commands share."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from condense.cli.names import completing
from condense.cli.resolve import DATA, params_of

if TYPE_CHECKING:
    from condense.resources import Machine
    from condense.runner.cell import CellSpec, Paths

MAKING = (
    "method", "ipc", "fraction", "ipc_per_class", "imbalanced", *DATA, "undirected", "seed", "param",
    "teacher", "out",
)  # fmt: skip
JUDGING = ("protocol", "targets", "student", "eval_seeds", "results")
MACHINE = ("budget", "device", "tensorboard")
SPREAD = (*MACHINE, "on")
"""The settings of commands that can spread their work over processes."""

NAMED_SET = typer.Argument(
    metavar="SET", help="A stored set: its folder, its name (see condense sets), or hf://user/name."
)
"""The argument of commands that take a stored set."""
SET, EVALUATION, PLACES = "Distilled set", "Evaluation", "Machine and folders"
"""Groups of options in the help; the group of the data is called ``Data``."""
GROUPS = {name: SET for name in (*MAKING, "clients")}
GROUPS |= dict.fromkeys((*DATA, "undirected"), "Data")
GROUPS |= dict.fromkeys(JUDGING, EVALUATION)
GROUPS |= dict.fromkeys((*SPREAD, "out", "results"), PLACES)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The values of the shared options; a command takes some of them, and the others have their defaults."""

    method: Annotated[
        str | None,
        typer.Option(
            help="Method to distil with (see condense list): dm, dm+fyi, mirage...; default dm.",
            autocompletion=completing("method", "wrapper", "federated"),
        ),
    ] = None
    ipc: Annotated[int | None, typer.Option(help="Images, or graphs, per class; default 1.")] = None
    fraction: Annotated[
        float | None,
        typer.Option(help="In place of --ipc: train students on this fraction of the images, without a set."),
    ] = None
    ipc_per_class: Annotated[
        Path | None,
        typer.Option(
            help="A CSV file with the line class,count and a line for each class whose number is not --ipc."
        ),
    ] = None
    imbalanced: Annotated[
        str | None,
        typer.Option(help="`keep` takes all samples of the classes that have fewer than they should give."),
    ] = None
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            help="A name (see condense list), a .npz file, or a folder of images or graphs; the default is "
            "that of the stored set, else digits, or mutag for a method that distils graphs.",
            autocompletion=completing("dataset"),
        ),
    ] = None
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            help="Evaluation protocol; `published` is the one that the paper used.",
            autocompletion=completing("protocol"),
        ),
    ] = None
    targets: Annotated[
        str | None,
        typer.Option(
            help="Datasets, with commas between them, that students are trained and tested on after the set "
            "under a transfer protocol; default: the set's own."
        ),
    ] = None
    student: Annotated[
        str | None,
        typer.Option(
            help="Network that is trained on the set; default convnet, or six networks for graphs.",
            autocompletion=completing("network"),
        ),
    ] = None
    clients: Annotated[
        str | None,
        typer.Option(
            help="Clients of a federation (method fedlgd, fedavg...): dirichlet:N:ALPHA, variants, "
            "variants:NAME,NAME, or domains; default dirichlet:5:0.5."
        ),
    ] = None
    seed: Annotated[
        int | None, typer.Option(help="Seed of the distillation; default 0 (random_subset: 0 to 9).")
    ] = None
    eval_seeds: Annotated[
        int | None, typer.Option(help="Number of students for each set: the first N of the protocol's seeds.")
    ] = None
    size: Annotated[int | None, typer.Option(help="Resize the images to N x N pixels.")] = None
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out files that are not images.")
    ] = False
    undirected: Annotated[
        bool,
        typer.Option(
            "--undirected", help="Take each edge of graphs in both directions, however it is listed."
        ),
    ] = False
    classes: Annotated[
        str | None,
        typer.Option(help="Take only these classes, with commas between their names; default all."),
    ] = None
    augment: Annotated[
        str | None,
        typer.Option(
            "--augment",
            help="Augmentation of the images: operations such as color_crop_flip, or none.",
        ),
    ] = None
    param: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="A field of the method; of a wrapper, fyi.key=value; repeatable (see condense list METHOD).",
        ),
    ] = None
    teacher: Annotated[
        Path | None,
        typer.Option(
            "--teacher", help="File of the teacher: the network that the method inverts or labels with."
        ),
    ] = None
    budget: Annotated[
        str | None, typer.Option("--budget", help="Stop after 90s, 9m or 2h; the same command then goes on.")
    ] = None
    device: Annotated[
        str,
        typer.Option(
            "--device",
            help="cpu, cuda, cuda:1, mps (Apple; what computes in float64 fails there), or auto: cuda if "
            "there is one, else cpu.",
        ),
    ] = "auto"
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="WHERE",
            help="Spread sets and students over processes: local:N for N of this machine, ray or ray:ADDRESS "
            "for Ray (docs/cluster.md).",
        ),
    ] = None
    tensorboard: Annotated[
        Path | None,
        typer.Option(help="Folder for the course of each loss and score, as TensorBoard reads it."),
    ] = None
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder with the files of datasets: NAME.npz, folders of images or graphs."),
    ] = None
    out: Annotated[Path, typer.Option(help="Folder for sets.")] = Path("sets")
    results: Annotated[Path, typer.Option(help="Folder for records; the board lies beside it.")] = Path(
        "results"
    )

    def cell(self, reference: str | None = None) -> "CellSpec":
        """Returns the cell that the options name, or the row of a reference."""
        from condense.errors import Refused
        from condense.runner.cell import CellSpec

        if self.method == "":  # which stands for the default in a cell
            raise Refused("an empty name is no method", setting="method", value="")
        number: dict[str, Any] = {} if self.ipc is None else {"ipc": self.ipc}
        return CellSpec(
            **number, method=reference or self.method or "", fraction=self.fraction,
            ipc_per_class=self.ipc_per_class, imbalanced=self.imbalanced, dataset=self.dataset,
            size=self.size, skip_unreadable=self.skip_unreadable, undirected=self.undirected,
            classes=self.classes,
            augment=self.augment, seeds=None if self.seed is None else (self.seed,),
            params=params_of(self.param), teacher=self.teacher, protocol=self.protocol, student=self.student,
            eval_seeds=self.eval_seeds, clients=self.clients, targets=cast(Any, self.targets),
        )  # fmt: skip

    def paths(self) -> "Paths":
        """Returns the folders that the options name."""
        from condense.runner.cell import Paths

        return Paths(out=self.out, results=self.results, data_dir=self.data_dir)

    def machine(self) -> "Machine":
        """Returns the device and the time limit that the options name."""
        from condense.runner.cell import machine_named

        # The devices of a cluster are not those of this machine, which only starts and gathers the work.
        return machine_named("auto" if (self.on or "").startswith("ray") else self.device, self.budget)


def with_options(function: Callable[..., None], names: tuple[str, ...]) -> Callable[..., None]:
    """Gives a command some of the shared options.

    Args:
        function: Takes `Options`, then the options and arguments of its own.
        names: Names of the shared options.

    Returns:
        The function as typer calls it: with each option as an argument.
    """

    def called(**values: object) -> None:
        options = Options(**{name: values.pop(name) for name in names})  # type: ignore[arg-type]
        if options.tensorboard is None:
            function(options, **values)
            return
        from condense.runner.tensorboard import on_tensorboard

        with on_tensorboard(options.tensorboard):
            function(options, **values)

    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [one.replace(kind=keyword) for one in inspect.signature(function).parameters.values()][1:]
    own += [
        inspect.Parameter(
            field.name, keyword, default=field.default, annotation=_grouped(field.name, field.type)
        )
        for field in fields(Options)
        if field.name in names
    ]
    called.__name__, called.__doc__, called.__annotations__ = function.__name__, function.__doc__, {}
    called.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
    return called


def _grouped(name: str, hint: object) -> object:
    """Returns the type of an option, with the group under which the help shows it."""
    kind, option = get_args(hint)
    option.rich_help_panel = GROUPS[name]
    return Annotated[kind, option]
