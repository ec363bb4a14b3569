"""The options of the command line that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Method = Annotated[
    str | None, typer.Option(help="What to distil with (condense list): dm, dm+fyi, mirage...; default dm.")
]
Ipc = Annotated[int, typer.Option(help="Images, or graphs, per class.")]
Data = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="A name (condense list), a .npz file, a folder of images or of graphs; "
        "default digits, or mutag where the method is for graphs.",
    ),
]
ProtocolName = Annotated[
    str | None, typer.Option("--protocol", help="Evaluation protocol; `published` takes the paper's own.")
]
Student = Annotated[
    str | None,
    typer.Option(help="Network that is trained on the set; default convnet, or all six that graphs have."),
]
Seed = Annotated[
    int | None, typer.Option(help="Seed of the distillation; default 0 (random_subset: 0 to 9).")
]
EvalSeeds = Annotated[int | None, typer.Option(help="Students a set: the first N of the protocol's seeds.")]
Size = Annotated[int | None, typer.Option(help="Resize the images to N x N pixels.")]
Skip = Annotated[bool, typer.Option("--skip-unreadable", help="Leave out files that are no pictures.")]
Param = Annotated[
    list[str] | None,
    typer.Option(help="A field of the method, key=value; in a chain fyi.key=value; repeatable."),
]
TeacherFile = Annotated[
    Path | None, typer.Option("--teacher", help="File of the network that the method inverts or labels with.")
]
BudgetText = Annotated[
    str | None, typer.Option("--budget", help="Stop after 90s, 9m or 2h; a repeat goes on.")
]
DeviceName = Annotated[str, typer.Option("--device", help="cpu, cuda, or auto: cuda where there is one.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder with NAME.npz files, image and graph sets.")]
Out = Annotated[Path, typer.Option(help="Folder for sets.")]
Results = Annotated[Path, typer.Option(help="Folder for records; the board lies beside it.")]
