"""What a method that distils graphs is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from condense.data import Graphs
from condense.distillation.method import Method

if TYPE_CHECKING:
    from condense.distillation.graphs.run import GraphRun
    from condense.store.graphs.graph_set import GraphSet


@dataclass(frozen=True, kw_only=True)
class GraphMethod(Method):
    """A way to make a few graphs out of many. Subclasses' fields are their hyper-parameters."""

    kind = "graphs"

    @property
    def fills(self) -> bool:
        """Whether its sets hold exactly ``ipc`` items of each class; one that does not says what it holds."""
        return True

    def distill(self, train: Graphs, run: "GraphRun") -> "GraphSet":
        """Makes the set.

        Args:
            train: The training graphs, on the run's device. There is no test data within a method's reach.
            run: Everything else that it may ask for.

        Returns:
            What `GraphRun.distilled` or `GraphRun.selected` made.
        """
        raise NotImplementedError
