"""Events as scalars of TensorBoard (the extra ``tensorboard``)."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from condense.errors import Refused, install
from condense.events import Event, hearing
from condense.files import require_writable, short_name

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """Writes the values of events for TensorBoard; each phase of a task is one of its runs.

    The name of such a run is ``RUN/TASK/PHASE`` and a scalar has the name of its value, so that losses of
    several students share a chart. Where a phase goes on after a kill, TensorBoard forgets the later steps
    that were lost.

    Args:
        folder: The folder that TensorBoard is started with.

    Raises:
        Refused: if tensorboard is not installed, or the folder cannot be written.
    """

    def __init__(self, folder: str | Path) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise Refused(
                f"tensorboard is not installed: {install('tensorboard')}",
                setting="tensorboard",
                value=str(folder),
            )
        self.folder = Path(folder)
        require_writable(self.folder)
        self._writers: dict[str, SummaryWriter] = {}
        self._ended: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Writes the values of an event."""
        from torch.utils.tensorboard import SummaryWriter

        name = "/".join(short_name(event[part]) for part in ("run", "task", "phase"))
        if event["event"] == "begin":
            self._close(self._ended | {name})
            lost = event["step"] + 1
            self._writers[name] = SummaryWriter(self.folder / name, purge_step=lost, flush_secs=10)
        elif name not in self._writers:
            self._writers[name] = SummaryWriter(self.folder / name, flush_secs=10)
        for value, number in event["values"].items():
            self._writers[name].add_scalar(value, number, event["step"])
        if event["step"] == event["of"]:
            self._ended.add(name)

    def close(self) -> None:
        """Closes all files."""
        self._close(set(self._writers))

    def _close(self, names: set[str]) -> None:
        for name in names & set(self._writers):
            self._writers.pop(name).close()
        self._ended -= names


@contextmanager
def on_tensorboard(folder: Path | None) -> Iterator[None]:
    """Writes the events of all work within the block for TensorBoard; without a folder it does nothing."""
    if folder is None:
        yield
        return
    board = TensorBoard(folder)
    try:
        with hearing(board):
            yield
    finally:
        board.close()
