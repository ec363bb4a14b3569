"""How the cost of distilling graphs grows with their number: ``python benchmarks/graphs.py``.

Random graphs with the size and degrees of molecules, from 10^4 to 10^7 edges together, are distilled by
Mirage to ten tree sets per class. Seconds are those that the set records. Memory is the peak above that of
the graphs, with a process for each row. If the cost is linear, the microseconds per edge are constant.

Run it on an otherwise idle machine: other processes distort the times.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from condense.benchmarks.unrolled import MIB, RETURNED, held
from condense.data import GraphDataset, Graphs, GraphSpec
from condense.distillation.engine import distill
from condense.distillation.registry import build
from condense.resources import PeakMemory, device_name

EDGES = (10**4, 10**5, 10**6, 10**7)
NODES, LABELS, BONDS = 26, 40, 4
"""Nodes in a graph, and numbers of labels of nodes and of edges."""


def made(edges: int, seed: int = 0) -> Graphs:
    """Returns random graphs of two classes: chains with branches and a few rings.

    Args:
        edges: Least number of directed edges of all graphs together; each graph has 56.
        seed: Seed of the random numbers.
    """
    rng = torch.Generator().manual_seed(seed)
    rings = 3
    count = -(-edges // (2 * (NODES - 1 + rings)))
    # Node i has an edge to one of the three before it. A ring is closed by an edge over six nodes.
    child = torch.arange(1, NODES).expand(count, -1)
    parent = (child - 1 - torch.randint(3, child.shape, generator=rng)).clamp_min(0)
    start = torch.rand(count, NODES - 6, generator=rng).argsort(1)[:, :rings]
    low, high = torch.cat([parent, start], 1), torch.cat([child, start + 6], 1)
    bonds = torch.randint(BONDS, low.shape, generator=rng)
    offset = NODES * torch.arange(count)[:, None]
    pairs = torch.stack([torch.cat([low, high], 1) + offset, torch.cat([high, low], 1) + offset]).flatten(1)
    labels = torch.cat([bonds, bonds], 1).flatten()
    order = (pairs[0] * (NODES * count) + pairs[1]).argsort()
    # Label j is about half as frequent as the one before it, so that some trees are in many graphs.
    nodes = torch.empty(count * NODES).exponential_(0.7, generator=rng).long().clamp_max(LABELS - 1)
    return Graphs(
        node_labels=nodes,
        node_features=nodes[:, None],
        edges=pairs[:, order],
        edge_labels=labels[order],
        nodes_ptr=NODES * torch.arange(count + 1),
        edges_ptr=2 * (NODES - 1 + rings) * torch.arange(count + 1),
        labels=torch.arange(count) % 2,
        num_classes=2,
    )


def cost(edges: int) -> tuple[int, float, float]:
    """Distils random graphs in this process; returns directed edges, seconds, and MiB above the graphs."""
    graphs = made(edges)
    spec = GraphSpec(
        name="made",
        classes=("0", "1"),
        features=(LABELS,),
        node_labels=LABELS,
        edge_values=tuple((bond,) for bond in range(BONDS)),
        split="seeded",
    )
    few = graphs.select(range(2))
    dataset = GraphDataset(spec, train=graphs, valid=few, test=few)
    method, _ = build("mirage", spec.name, 10, kind="graphs")
    with TemporaryDirectory() as cache:
        small = GraphDataset(spec, train=made(1000), valid=few, test=few)
        distill(method, small, ipc=1, cache=Path(cache))  # the first call also loads libraries
        before = held(torch.device("cpu"))
        meter = PeakMemory(torch.device("cpu"))
        found, _ = distill(method, dataset, ipc=10, cache=Path(cache))
    seconds = found.provenance["seconds"]
    assert isinstance(seconds, float)
    return graphs.edges.shape[1], seconds, (meter.peak() - before) / MIB


def growth() -> dict[str, dict[str, float]]:
    """Prints and returns seconds and peak MiB for each number of edges."""
    print(f"{'edges':>10}{'seconds':>10}{'us/edge':>10}{'MiB':>8}")
    figures = {}
    for edges in EDGES:
        row = subprocess.run(
            [sys.executable, str(Path(__file__)), "--row", str(edges)],
            env=os.environ | RETURNED, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        count, seconds, peak = (float(text) for text in row.stdout.split())
        print(f"{count:>10.0f}{seconds:>10.3f}{1e6 * seconds / count:>10.3f}{peak:>8.0f}", flush=True)
        figures[f"{count:.0f} edges"] = {"seconds": seconds, "peak MiB": peak}
    return figures


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--row", type=int, metavar="EDGES", help="print only the figures of this row")
    options = parser.parse_args()
    if options.row:
        print(*cost(options.row))
        return
    cpu = torch.device("cpu")
    print(f"{device_name(cpu)}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    growth()


if __name__ == "__main__":
    main()
