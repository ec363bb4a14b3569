"""The algorithms on Flower, in one process, against the same algorithms written out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from condense.errors import Refused, Stopped
from condense.federated.algorithms import ALGORITHMS, FedAvg, FedLGD
from condense.federated.participant import Answer, Order, Participant
from condense.federated.plan import Plan
from condense.networks import build_network
from condense.resources import Budget
from condense.training.step import accuracy
from tests.federated import toy

pytest.importorskip("flwr", reason="Flower is an extra", exc_type=ImportError)

from tests.federated.in_process import Direct, run  # noqa: E402

SIZES = (2, 4, 3)
SMALL: dict[str, Any] = {"global_ipc": 2, "every": 2, "refreshes": 2, "local_steps": 3, "global_steps": 4}


def strategy(algorithm: Any, plan: Plan, folder: Path | None = None, budget: Budget | None = None) -> Any:
    from condense.federated.strategies import STRATEGIES

    return STRATEGIES[type(algorithm)](algorithm, plan, toy.loop(folder, budget))


def finished(algorithm: Any, folder: Path, rounds: int = 3, ratio: float = 1.0) -> Any:
    made = strategy(algorithm, toy.plan(rounds, len(SIZES), ratio))
    run(made, Direct(toy.participants(folder, SIZES), len(SIZES)))
    return made


def close(found: Any, expected: dict[str, Tensor]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "fednova", "scaffold"])
def test_the_rounds_on_flower_equal_the_algorithm_written_out(name: str, tmp_path: Path) -> None:
    settings = ALGORITHMS[name](**({"mu": 0.5} if name == "fedprox" else {}))
    expected = toy.reference(name, settings, 3, SIZES)
    close(finished(settings, tmp_path).weights, expected)
    if name != "fedavg":
        plain = toy.reference("fedavg", FedAvg(), 3, SIZES)
        assert any(not torch.allclose(plain[key], expected[key], atol=1e-5) for key in plain)


def test_fedavg_with_one_client_is_centralised_training(tmp_path: Path) -> None:
    made = strategy(FedAvg(), toy.plan(4, 1))
    run(made, Direct(toy.participants(tmp_path, [3]), 1))
    weights = toy.start()
    for number in range(4):
        weights, _ = toy.trained(weights, toy.local(0, 3), number, 0)
    close(made.weights, weights)


def test_fedlgd_without_its_parts_is_fedavg_on_the_clients_sets(tmp_path: Path) -> None:
    bare = FedLGD(weight=0.0, global_ipc=0, refreshes=0)
    found, plain = finished(bare, tmp_path / "a"), finished(FedAvg(), tmp_path / "b")
    assert all(torch.equal(found.weights[name], plain.weights[name]) for name in plain.weights)
    assert (found.up, found.down) == (plain.up, plain.down)


@pytest.mark.parametrize(
    "part", [{"weight": 0.0}, {"global_ipc": 0}, {"local_steps": 0}, {"global_steps": 0}]
)
def test_each_part_of_fedlgd_changes_the_network(part: dict[str, Any], tmp_path: Path) -> None:
    whole = finished(FedLGD(**SMALL), tmp_path / "a", rounds=4)
    less = finished(FedLGD(**(SMALL | part)), tmp_path / "b", rounds=4)
    assert any(not torch.equal(whole.weights[name], less.weights[name]) for name in whole.weights)


def test_shared_images_change_in_rounds_with_a_refresh_alone(tmp_path: Path) -> None:
    made, seen = strategy(FedLGD(**SMALL), toy.plan(6, len(SIZES))), []
    plain = made.aggregate

    def watched(number: int, answers: Any) -> Any:
        before = made.shared.images
        after = plain(number, answers)
        seen.append(not torch.equal(before, made.shared.images))
        return after

    made.aggregate = watched
    run(made, Direct(toy.participants(tmp_path, SIZES), len(SIZES)))
    assert seen == [True, False, True, False, False, False]
    assert made.shared.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_orders_refresh_or_contrast_and_the_first_round_does_neither(tmp_path: Path) -> None:
    made = strategy(FedLGD(**SMALL), toy.plan(5, len(SIZES)))
    orders = [made.order(number) for number in range(5)]
    assert [order.refresh is not None for order in orders] == [False, False, True, False, False]
    assert [order.pull.weight for order in orders] == [0.0, 1.0, 0.0, 1.0, 1.0]


def test_vhl_draws_the_same_noise_on_all_clients_and_sends_none(tmp_path: Path) -> None:
    vhl, plain = finished(ALGORITHMS["vhl"](), tmp_path / "a"), finished(FedAvg(), tmp_path / "b")
    assert vhl.down == plain.down and vhl.up == plain.up
    assert any(not torch.equal(vhl.weights[name], plain.weights[name]) for name in plain.weights)


def test_bytes_are_those_of_the_tensors_that_are_sent(tmp_path: Path) -> None:
    size = 4 * sum(value.numel() for value in toy.start().values())
    made = finished(FedAvg(), tmp_path / "a", rounds=2)
    assert made.up == 2 * 3 * size and made.down == (2 + 1) * 3 * size  # the test sends the network again
    made = finished(ALGORITHMS["scaffold"](), tmp_path / "b", rounds=2)
    assert made.up == 2 * 3 * 2 * size and made.down == (2 * 2 + 1) * 3 * size
    made = finished(FedLGD(**SMALL), tmp_path / "c", rounds=2)
    shared = 6 * (4 * 64 + 8)
    assert made.down == 3 * (3 * size + 2 * shared)
    assert made.up == 3 * (2 * size + 2 * 4 * 3)  # mean and deviation of three classes
    made = finished(FedLGD(**SMALL), tmp_path / "d", rounds=6)
    assert made.version == 3 and made.down == 3 * (7 * size + 3 * shared)  # sent when they have changed


def test_a_client_that_lost_the_shared_images_fails_once_and_is_sent_them(tmp_path: Path) -> None:
    class Forgetful(Participant):
        def answer(self, order: Order) -> Answer:
            if self.number == 1 and order.number == 4:
                for path in self.folder.glob("shared-*"):
                    path.unlink()
            return super().answer(order)

    made = strategy(FedLGD(**SMALL), toy.plan(6, 3))
    run(made, Direct(toy.participants(tmp_path, SIZES, Forgetful), 3))
    assert made.lost == 1 and made.held == {0: 3, 1: 3, 2: 3}


def test_every_client_tests_the_last_network_on_its_own_images(tmp_path: Path) -> None:
    made = finished(FedAvg(), tmp_path)
    net = build_network(toy.NETWORK, toy.SHAPE, toy.CLASSES, torch.Generator())
    net.load_state_dict(made.weights)
    for number in range(3):
        test = toy.images(12, 50 + number)
        expected = accuracy(net, (test.images.float() / 255 - 0.5) / 0.5, test.labels)
        assert made.scores[number] == pytest.approx(expected)


def test_a_share_of_the_clients_is_drawn_anew_in_each_round(tmp_path: Path) -> None:
    asked: list[list[int]] = []

    class Noted(Participant):
        def answer(self, order: Order) -> Answer:
            while len(asked) <= order.number:
                asked.append([])
            asked[order.number].append(self.number)
            return super().answer(order)

    made = strategy(FedAvg(), toy.plan(12, 4, 0.5))
    run(made, Direct(toy.participants(tmp_path, [2] * 4, Noted), 4))
    assert all(len(set(clients)) == 2 for clients in asked)
    assert {client for clients in asked for client in clients} == {0, 1, 2, 3}
    assert len({tuple(sorted(clients)) for clients in asked}) > 2


class Failing(Participant):
    """Client 1 fails in the second round."""

    def answer(self, order: Order) -> Answer:
        if self.number == 1 and order.number == 1:
            raise OSError("the disk is full")
        return super().answer(order)


def test_a_client_that_fails_is_named_and_the_round_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = strategy(FedAvg(), toy.plan(2, 3))
    run(made, Direct(toy.participants(tmp_path, SIZES, Failing), 3))
    told = [line for line in capsys.readouterr().err.splitlines() if "failed" in line]
    assert told == ["toy: round 2: client 1 has failed (OSError: the disk is full); the others go on"]
    assert made.lost == 1 and len(made.scores) == 3
    weights = toy.reference("fedavg", FedAvg(), 1, SIZES)
    both = [toy.trained(weights, toy.local(one, SIZES[one]), 1, one)[0] for one in (0, 2)]
    close(made.weights, {name: (both[0][name] + both[1][name]) / 2 for name in weights})


def test_a_round_without_any_answer_is_refused(tmp_path: Path) -> None:
    class Silent(Participant):
        def answer(self, order: Order) -> Answer:
            raise ValueError("no")

    made = strategy(FedAvg(), toy.plan(2, 2))
    with pytest.raises(Refused, match="no client has answered in round 1"):
        run(made, Direct(toy.participants(tmp_path, [2, 2], Silent), 2))


@pytest.mark.parametrize("name", ["scaffold", "fedlgd", "vhl"])
def test_a_federation_that_was_stopped_ends_with_the_same_bits(
    name: str, tmp_path: Path, spent_after: Callable[[int], Budget]
) -> None:
    settings = ALGORITHMS[name](**(SMALL if name == "fedlgd" else {}))
    expected = finished(settings, tmp_path / "whole", rounds=5)
    clients = toy.participants(tmp_path / "clients", SIZES)
    stops = 0
    for asked in (0, 1, 0, 99):
        made = strategy(settings, toy.plan(5, 3), tmp_path / "loop", spent_after(asked))
        try:
            run(made, Direct(clients, 3))
        except Stopped:
            stops += 1
    assert stops == 3
    assert all(torch.equal(made.weights[key], expected.weights[key]) for key in expected.weights)
    assert made.scores == expected.scores and (made.up, made.down) == (expected.up, expected.down)


def test_a_round_that_is_done_again_gives_the_same_answer(tmp_path: Path) -> None:
    """The server was killed after the clients had answered, and before it noted the round."""
    from condense.federated.virtual import Refresh

    client = toy.participants(tmp_path, [2])(0)
    how = Refresh(steps=2, lr=1.0, momentum=0.5, batch_real=8, strategy="none")
    zero = {name: torch.zeros_like(value) for name, value in toy.start().items()}

    def ask(number: int) -> Answer:
        return client.answer(
            Order(
                number=number, seed=0, weights=toy.start(), protocol=toy.protocol(9), control=zero,
                refresh=how,
            )
        )  # fmt: skip

    first, second = ask(3), ask(4)
    again = ask(4)
    assert all(torch.equal(second.weights[name], again.weights[name]) for name in second.weights)
    assert any(not torch.equal(first.weights[name], second.weights[name]) for name in first.weights)
    restarted = ask(3)
    assert all(torch.equal(first.weights[name], restarted.weights[name]) for name in first.weights)
    assert sorted(path.name for path in (tmp_path / "0").glob("round-*")) == ["round-00000003.safetensors"]
