"""Flower's own simulation, whose clients are processes of Ray: one start of it takes seconds."""

import signal
from pathlib import Path

import pytest
import torch

from condense.federated.algorithms import Scaffold
from condense.federated.simulation import federate
from condense.resources import Machine
from tests.federated import toy

pytest.importorskip("flwr", reason="Flower is an extra", exc_type=ImportError)
pytest.importorskip("ray", reason="Flower's simulation is an extra", exc_type=ImportError)

SIZES = (2, 4, 3)


@pytest.mark.slow
def test_the_simulation_gives_the_weights_of_the_algorithm_in_one_process(tmp_path: Path) -> None:
    clients = toy.participants(tmp_path, SIZES)
    made = federate(Scaffold(), toy.plan(3, 3), toy.loop(tmp_path / "loop"), clients, Machine())
    expected = toy.reference("scaffold", Scaffold(), 3, SIZES)
    for name, value in expected.items():
        torch.testing.assert_close(made.weights[name], value, rtol=1e-5, atol=1e-6)
    assert made.lost == 0 and len(made.scores) == 3
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.slow
def test_a_client_whose_process_dies_is_named_and_all_come_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clients = toy.participants(tmp_path, SIZES, toy.Killed)
    made = federate(Scaffold(), toy.plan(4, 3), toy.loop(tmp_path / "loop"), clients, Machine())
    told = capsys.readouterr().err
    assert "round 2: client 1 has failed (its process has died); the others go on" in told
    assert made.left == 0 and len(made.scores) == 3
    assert told.count("round 3") == told.count("round 4") == 0
