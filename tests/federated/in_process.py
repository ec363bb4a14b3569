"""A grid of Flower in one process: messages go straight to the clients' application.

Messages of Flower need an identity of the process, which its simulation sets too; it is in a private module.
"""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from condense.federated.participant import Participant

pytest.importorskip("flwr", reason="Flower is an extra", exc_type=ImportError)


class Direct:
    """Delivers messages at once, in the order of the nodes, and answers in the opposite one."""

    def __init__(self, participants: Callable[[int], Participant], clients: int) -> None:
        from flwr.app import Context, RecordDict

        from condense.federated.messages import PARTITION, client_app

        try:
            from flwr.supercore.task_identity import TaskIdentity
        except ImportError:
            pytest.skip("this version of Flower has its identity of a process elsewhere")
        TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
        self.app = client_app(participants)
        self.contexts: dict[int, Any] = {
            1000 - number: Context(
                run_id=1, node_id=1000 - number, node_config={PARTITION: number}, state=RecordDict(),
                run_config={},
            )
            for number in range(clients)
        }  # fmt: skip

    def get_node_ids(self) -> Iterable[int]:
        return list(self.contexts)

    def send_and_receive(self, messages: Iterable[Any], *, timeout: float | None = None) -> list[Any]:
        replies = [self.app(one, self.contexts[one.metadata.dst_node_id]) for one in messages]
        return replies[::-1]


def run(strategy: Any, grid: Direct) -> None:
    """Runs the rounds that are left and the test."""
    strategy.restarted()
    strategy.finish(grid)
