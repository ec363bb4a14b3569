"""The run of a method that distils graphs."""

from functools import partial
from typing import cast

from jaxtyping import Bool, Float, Float32, Int, Int64
from torch import Tensor

from condense.data import Graphs, GraphSpec
from condense.distillation.run import FAR, Run
from condense.networks.graph import in_graph_chunks
from condense.store.graphs.graph_set import GraphSet
from condense.store.graphs.manifest import GraphContent
from condense.training.graph_training import GraphTraining
from condense.training.pretrained import pretrained


class GraphRun(Run[GraphSpec]):
    """The run of a method that distils graphs: see `Run` for what all methods have."""

    def features(self, train: Graphs, network: str) -> Float[Tensor, "g h"]:
        """Returns the features of each graph: the input of the classifier of a network trained on all graphs.

        The network is trained as `GraphTraining` says; its cost is charged to the run, even if it is cached.

        Args:
            train: The training graphs that the method was given.
            network: Name of the network.
        """
        training = GraphTraining(network=network)
        make = partial(pretrained, training, train, self.spec, cache=self.cache, budget=self._budget)
        return in_graph_chunks(self._charged(make).network.features, train, self.spec.features)

    def selected(self, train: Graphs, indices: Int64[Tensor, " g"]) -> GraphSet:
        """Makes the finished set of the training graphs at some positions, class-major, of equal weight."""
        kept = train.select(indices)
        return self.distilled(
            nodes=kept.node_features, edges=kept.edges, edge_labels=kept.edge_labels,
            nodes_ptr=kept.nodes_ptr, edges_ptr=kept.edges_ptr, labels=kept.labels,
        )  # fmt: skip

    def distilled(
        self,
        *,
        nodes: Int64[Tensor, "z f"] | Float32[Tensor, "z d"],
        edges: Int64[Tensor, "2 e"],
        nodes_ptr: Int64[Tensor, " p"],
        edges_ptr: Int64[Tensor, " p"],
        labels: Int64[Tensor, " g"],
        edge_labels: Int64[Tensor, " e"] | None = None,
        weights: Int[Tensor, " g"] | Float32[Tensor, " g"] | None = None,
        roots: Bool[Tensor, " z"] | None = None,
        degrees: Int64[Tensor, " z"] | None = None,
        to_parent: bool = False,
    ) -> GraphSet:
        """Makes the finished set: see `GraphSet` for its parts.

        Args:
            nodes: Columns of the dataset's features, or learned features as wide as a student's input.
            edges: Source and target of each message, as global node numbers.
            nodes_ptr: Position of each graph's first node, followed by z.
            edges_ptr: Position of each graph's first edge, followed by e.
            labels: Class ids.
            edge_labels: Ids of the edges' features; None where all are 0.
            weights: Weight of each graph in a student's loss; None for equal weights.
            roots: Whether each node stands for its graph; None if all do.
            degrees: Number of neighbours of each node, if the edges do not show it.
            to_parent: Whether the graphs are trees whose nodes send messages to their parents only. Otherwise
                every edge is there in both directions.
        """
        spec, content = self.spec, self._content(labels)
        if nodes.is_floating_point():  # in the data they are 0 and 1
            self._refuse_diverged(~(nodes.detach().abs() <= FAR), "the features")
        content["dataset"] |= {"features": list(spec.features), "split": spec.split}
        encoding = "dense" if nodes.is_floating_point() else "columns"
        content["nodes"] = {"encoding": encoding, "width": sum(spec.features)}
        content["edges"] = "to-parent" if to_parent else "both"
        made = GraphSet(
            nodes=nodes.detach(), edges=edges, edge_labels=edge_labels, nodes_ptr=nodes_ptr,
            edges_ptr=edges_ptr, labels=labels, weights=weights, roots=roots, degrees=degrees,
            content=cast(GraphContent, content), provenance=self._provenance(),
        )  # fmt: skip
        return made.to("cpu")
