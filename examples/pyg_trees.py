"""Trains a network of torch_geometric on computation trees of a Mirage set, and tests it on real graphs.

    python examples/pyg_trees.py --set sets/NAME --epochs 500

Each item of a Mirage set is one tree or several that often occur together; its weight is how often they do.
Messages go from child to parent. Only the roots have seen what real nodes see, so only roots are pooled. On
real graphs every node is a root. Labels of edges are not used.
"""

import argparse

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv, global_add_pool

import condense
from condense.data import load_graphs
from condense.data.graphs.batch import batch_of


class GCN(nn.Module):
    """Two layers, the sum of the roots' values, and a linear classifier."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        # The layer must not count neighbours itself: a tree is cut off at its leaves.
        self.one, self.two = (GCNConv(width, 64, normalize=False) for width in (features, 64))
        self.classifier = nn.Linear(64, classes)

    def forward(self, x: Tensor, edges: Tensor, degrees: Tensor, owners: Tensor, roots: Tensor) -> Tensor:
        """Returns (graphs, classes) logits; degrees are those of the nodes in the graphs they come from."""
        edges = torch.cat([edges, torch.arange(len(x)).expand(2, -1)], 1)  # and each node to itself
        scale = (degrees + 1.0).rsqrt()
        weight = scale[edges[0]] * scale[edges[1]]
        x = self.two(self.one(x, edges, weight).relu(), edges, weight).relu()
        return self.classifier(global_add_pool(x[roots], owners[roots], size=int(owners.max()) + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", required=True, help="folder of a stored set of graphs")
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--data", help="real dataset, a name or path; default: that of the set")
    args = parser.parse_args()
    torch.manual_seed(0)

    distilled = condense.load(args.set)
    real = load_graphs(args.data or distilled.content["dataset"]["name"])
    network = GCN(distilled[0].num_node_features, distilled.num_classes)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(args.epochs):
        for trees in DataLoader(distilled, batch_size=128, shuffle=True):
            logits = network(trees.x, trees.edge_index, trees.degrees, trees.batch, trees.roots)
            losses = nn.functional.cross_entropy(logits, trees.y, reduction="none")
            loss = (losses * trees.weight).sum() / trees.weight.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    graphs = batch_of(real.test, real.spec.features)  # all test graphs side by side
    every = torch.ones(len(graphs.nodes), dtype=torch.bool)
    with torch.no_grad():
        found = network(graphs.nodes, graphs.edges, graphs.degrees, graphs.owners, every).softmax(1)
    if len(real.spec.classes) == 2:
        print(f"ROC-AUC: {100 * roc_auc_score(graphs.labels, found[:, 1]):.2f} %")
    right = (found.argmax(1) == graphs.labels).float().mean()
    print(f"accuracy: {100 * right:.2f} % of {len(graphs)} real test graphs")


if __name__ == "__main__":
    main()
