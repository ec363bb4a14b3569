"""``condense bench``: what it does about cells that fail."""

from pathlib import Path

import pytest

from condense.distillation.registry import methods
from tests.cli.command import Condense


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "out of memory (too large); a narrower network"),
        (IndexError("odd"), "IndexError: odd"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--shard", "1/1"]], ids=["alone", "shard"])
def test_a_queue_goes_on_after_a_cell_that_fails(
    error: Exception,
    told: str,
    more: list[str],
    condense: Condense,
    toy_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(methods()["herding"], "distill", fail)
    cell = f'dataset = "{toy_file}"\nstudent = "mlp"\nseeds = [0]\neval_seeds = 1\n'
    Path("queue.toml").write_text(f'[[cell]]\n{cell}method = ["herding", "random_subset"]\n')
    ended = condense("bench", "queue.toml", *more)
    assert ended.code == 2 and len(list(Path("results").glob("toy/*.json"))) == 1
    skipped = [line for line in ended.err.splitlines() if line.startswith("skipped herding ")]
    assert len(skipped) == 1 and told in skipped[0]
    assert ("Traceback" in ended.err) == isinstance(error, IndexError)
    assert ended.err.splitlines()[-1] == "condense: 1 of the 2 cells of queue.toml were skipped"
