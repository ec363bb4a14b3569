"""State that passes with its phase: kept while the steps run, and in no end state."""

from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from condense.resources import Budget
from condense.training.checkpoint import Checkpoints
from condense.training.loop import Loop, State


def test_passing_state_survives_a_kill_and_is_in_no_end_state(tmp_path: Path) -> None:
    def ends(folder: Path, stop: int | None = None) -> tuple[Tensor, Tensor]:
        """What a phase ends in, killed once before a step, and how its passing part then stands."""
        for kill in (stop, None):
            loop = Loop(
                folder, torch.Generator().manual_seed(7), device=torch.device("cpu"), budget=Budget(),
                title="toy", remedy="lower lr", every_seconds=0.0,
            )  # fmt: skip
            x, y = torch.zeros(3), torch.ones(3)
            state: State = {"x": x, "y": y, "count": 0}
            for step in loop.steps(5, state, "one", passing=("y", "count")):
                if step == kill:
                    break
                y.mul_(2).add_(torch.rand(3, generator=loop.rng))
                state["count"] = cast(int, state["count"]) + 1
                x += y * cast(int, state["count"])
        return x, y

    whole, _ = ends(tmp_path / "whole")
    tree = Checkpoints(tmp_path / "whole").read()
    assert tree is not None and isinstance(tree["finished"], dict)
    assert isinstance(phase := tree["finished"]["one"], dict) and isinstance(held := phase["state"], dict)
    assert list(held) == ["x"]
    broken, _ = ends(tmp_path / "broken", stop=3)
    assert torch.equal(whole, broken)
    again, untouched = ends(tmp_path / "whole")  # finished: nothing is done, the rest stays as it was
    assert torch.equal(again, whole) and torch.equal(untouched, torch.ones(3))
