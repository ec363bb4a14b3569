"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Method = Annotated[
    str | None,
    typer.Option(help="Method to distil with (see condense list): dm, dm+fyi, mirage...; default dm."),
]
Ipc = Annotated[int, typer.Option(help="Images, or graphs, per class.")]
Data = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="A name (see condense list), a .npz file, or a folder of images or graphs; "
        "default digits, or mutag for a method that distils graphs.",
    ),
]
ProtocolName = Annotated[
    str | None,
    typer.Option("--protocol", help="Evaluation protocol; `published` is the one that the paper used."),
]
Student = Annotated[
    str | None,
    typer.Option(help="Network that is trained on the set; default convnet, or six networks for graphs."),
]
Seed = Annotated[
    int | None, typer.Option(help="Seed of the distillation; default 0 (random_subset: 0 to 9).")
]
EvalSeeds = Annotated[
    int | None, typer.Option(help="Number of students for each set: the first N of the protocol's seeds.")
]
Size = Annotated[int | None, typer.Option(help="Resize the images to N x N pixels.")]
Skip = Annotated[bool, typer.Option("--skip-unreadable", help="Leave out files that are not images.")]
Param = Annotated[
    list[str] | None,
    typer.Option(help="A field of the method, key=value; of a wrapper, fyi.key=value; repeatable."),
]
TeacherFile = Annotated[
    Path | None,
    typer.Option("--teacher", help="File of the network that the method inverts or labels with."),
]
BudgetText = Annotated[
    str | None, typer.Option("--budget", help="Stop after 90s, 9m or 2h; the same command then goes on.")
]
DeviceName = Annotated[
    str, typer.Option("--device", help="cpu, cuda, or auto: cuda if there is one, else cpu.")
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder with the files of datasets: NAME.npz, folders of images or graphs."),
]
Out = Annotated[Path, typer.Option(help="Folder for sets.")]
Results = Annotated[Path, typer.Option(help="Folder for records; the board lies beside it.")]
