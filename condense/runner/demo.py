"""What is run if nothing is named: DM and the baselines on the bundled digits, in about a minute.

The protocol and the numbers of students and draws are the usual ones. The student, and the networks whose
features are matched, are narrow, and DM takes fewer iterations. Left out are random images of equal bytes,
and k-center, which with one image per class takes the images of herding: those closest to the means.
"""

from condense.runner.cell import CellSpec

NETWORK = "convnet-w32"
"""The student, and the network of which DM and herding take the features."""
ITERATIONS = 100
"""Iterations of DM; after 100 its loss hardly falls on these images."""
TOLD = (
    f"nothing is named, so this is the demo: {NETWORK} everywhere, dm with {ITERATIONS} iterations, one "
    "thread, no k_center (with one image per class it is herding), no random images of equal bytes"
)


def demo(with_baselines: bool) -> list[CellSpec]:
    """Returns the cells of the demo, that of DM first."""
    network: dict[str, object] = {"network": NETWORK}
    params = {"dm": network | {"iterations": ITERATIONS}}
    params |= {"random_subset": {}, "herding": network} if with_baselines else {}
    return [CellSpec(method=name, student=NETWORK, params=given) for name, given in params.items()]
