"""The demo: what is run if nothing is named."""

import torch

from condense.distillation.registry import methods
from condense.protocols import HARD_V1
from condense.runner.cell import CellSpec, Paths
from condense.runner.demo import NETWORK, TOLD, demo
from condense.runner.job import resolve


def test_the_demo_is_dm_on_digits_with_random_images_and_herding_beside_it() -> None:
    jobs = [resolve(cell, Paths()) for cell in demo(with_baselines=True)]
    assert [job.method and job.method.title for job in jobs] == ["dm", "random_subset", "herding"]
    assert {job.dataset.spec.name for job in jobs} == {"digits"} and {job.cell.ipc for job in jobs} == {1}
    assert {setup.student for job in jobs for setup in job.setups} == {NETWORK}
    assert {setup.protocol for job in jobs for setup in job.setups} == {HARD_V1}
    assert [len(job.seeds) for job in jobs] == [1, 10, 1]


def test_without_baselines_the_demo_is_dm_alone() -> None:
    assert [cell.method for cell in demo(with_baselines=False)] == ["dm"]


def test_the_line_about_the_demo_tells_what_differs_from_the_defaults() -> None:
    (cell, *_) = demo(with_baselines=False)
    assert cell != CellSpec() and all(str(value) in TOLD for value in cell.params.values())


def test_one_image_of_k_center_is_that_of_herding() -> None:
    features = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    herding, k_center = (methods()[name].rule(features, 1) for name in ("herding", "k_center"))  # type: ignore[attr-defined]
    assert herding.tolist() == k_center.tolist()
