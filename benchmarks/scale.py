"""What ImageNet-1K would take, by arithmetic: ``python benchmarks/scale.py`` prints tables of docs/scale.md.

Bytes of labels are those of the store's own layout (`condense.store.images.shards.ShardLayout`), lengths of
trainings those of the protocol, numbers of steps those of the methods' fields. GPU-hours follow from two
assumptions: the multiplications of a forward pass of ResNet-18 at 224 pixels, 1.8e9 (He et al., Deep Residual
Learning for Image Recognition, CVPR 2016, table 1), and the arithmetic that a GPU sustains. They are
estimates: nothing of this size was run.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from condense.board.format import bytes_text, grid
from condense.distillation.registry import build
from condense.protocols import REPLAY_V2
from condense.store.images.shards import ShardLayout

CLASSES, SIDE = 1000, 224
IPCS = (10, 50, 100)
METHODS, TEACHERS = 25, 1
FORWARD = 2 * 1.8e9
"""Operations of a forward pass of ResNet-18 for one image of 224 x 224 pixels: two a multiplication."""
PASSES = 3
"""A step of training takes about three forward passes: one forward, two backward."""
SUSTAINED = 30.0
"""Operations that a GPU is assumed to sustain, in 10^12 a second."""
FORMS: Mapping[str, Mapping[str, Any]] = {
    "all logits": {},
    "10 largest logits": {"top_k": 10},
    "5 largest, `marginal-smoothing`": {"top_k": 5, "form": "marginal-smoothing"},
    "`hard`": {"form": "hard"},
}
KEPT = 30
"""Epochs of labels that are kept in the last row of the table."""


def label_bytes(ipc: int, epochs: int, **layout: Any) -> int:
    """Returns the bytes of the stored labels of a set, with its views, for some epochs."""
    views = CLASSES * ipc
    return epochs * ShardLayout(views, CLASSES, REPLAY_V2.batch_for(views), **layout).nbytes


def label_table() -> str:
    """Returns the bytes of labels by form and IPC."""
    epochs = {ipc: REPLAY_V2.epochs_for(CLASSES * ipc) for ipc in IPCS}
    head = ["labels", *(f"IPC {ipc}, {epochs[ipc]} epochs" for ipc in IPCS)]
    rows = [
        [name, *(_size(label_bytes(ipc, epochs[ipc], **form)) for ipc in IPCS)]
        for name, form in FORMS.items()
    ]
    rows.append(
        [f"all logits of {KEPT} epochs (`kept={KEPT}`)", *(_size(label_bytes(ipc, KEPT)) for ipc in IPCS)]
    )
    rows.append(["one epoch of all logits: one file", *(_size(label_bytes(ipc, 1)) for ipc in IPCS)])
    rows.append(["images, 8 bits, not compressed", *(_size(CLASSES * ipc * 3 * SIDE**2) for ipc in IPCS)])
    return grid(head, rows)


def _size(count: int) -> str:
    return bytes_text([count])


def unit_table() -> str:
    """Returns the numbers of units by kind, of one set for each method and IPC."""
    sets = METHODS * len(IPCS)
    students = REPLAY_V2.seeds * sets
    rows = [
        ["prepare", f"{TEACHERS} teacher that all share", str(TEACHERS)],
        ["distil", f"{METHODS} methods x {len(IPCS)} IPCs", str(sets)],
        ["student", f"{REPLAY_V2.seeds} for each set", str(students)],
        ["all", "", str(TEACHERS + sets + students)],
    ]
    return grid(["unit", "", "number"], rows)


def operations(ipc: int) -> Mapping[str, float]:
    """Returns the operations of one unit of each kind at an IPC, by what it does."""
    images = CLASSES * ipc
    rded, sre2l, dm = (build(name, "imagenet", ipc)[0] for name in ("rded", "sre2l", "dm"))
    fields = {name: method.config() for name, method in (("rded", rded), ("sre2l", sre2l), ("dm", dm))}

    def number(method: str, field: str) -> float:
        return float(str(fields[method][field]))

    seen = images * REPLAY_V2.epochs_for(images)
    real = CLASSES * number("dm", "batch_real") * FORWARD
    return {
        "`rded`: score crops": CLASSES * number("rded", "pool") * number("rded", "crops") * FORWARD,
        "`sre2l`: invert the teacher": images * number("sre2l", "iterations") * PASSES * FORWARD,
        "`dm`: match features": number("dm", "iterations") * (real + images * PASSES * FORWARD),
        "`+fkd`: label all views": seen * FORWARD,
        "a student of ResNet-18": seen * PASSES * FORWARD,
    }


def hour_table(sustained: float = SUSTAINED) -> str:
    """Returns GPU-hours by work and IPC, at 10^12 operations a second that a GPU sustains."""
    by_ipc = [operations(ipc) for ipc in IPCS]
    rows: list[Sequence[str]] = [
        [what, *(f"{each[what] / (sustained * 1e12) / 3600:.2g}" for each in by_ipc)] for what in by_ipc[0]
    ]
    return grid(["GPU-hours of one unit", *(f"IPC {ipc}" for ipc in IPCS)], rows)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--tflops", type=float, default=SUSTAINED, help="What a GPU sustains (default: %(default)s)."
    )
    print("\n".join([unit_table(), hour_table(parser.parse_args().tflops), label_table()]))


if __name__ == "__main__":
    main()
