import shutil
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Protocol as Interface

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from condense.data import ImageDataset, Images
from condense.distillation.registry import build as build_method
from condense.errors import Refused, Stopped
from condense.networks import build_network
from condense.resources import Budget
from condense.training.expert_files import Rows
from condense.training.expert_steps import Stacked
from condense.training.experts import Experts, ExpertTraining, experts
from tests.stand_ins import start

module = import_module("condense.training.experts")
CPU = torch.device("cpu")
TINY = ExpertTraining(network="convnet-w32", batch=16, momentum=0.9, optimizer="gsam", lr=0.05)
STEPS = 4
"""Steps an epoch: 60 images, 16 a step."""


class Clock(Interface):
    now: float


def make(
    toy: ImageDataset,
    cache: Path,
    count: int = 1,
    epochs: int = 2,
    training: ExpertTraining = TINY,
    *,
    train: Images | None = None,
    budget: Budget | None = None,
    space: str = "normalized",
    said: list[str] | None = None,
) -> Experts:
    train = train or toy.train.in_space(toy.space(space))
    say = ([] if said is None else said).append
    return experts(
        training, count, epochs, train, toy.spec, space, cache=cache, budget=budget or Budget(), say=say
    )


def expert_files(cache: Path) -> list[Path]:
    return sorted(cache.rglob("expert-*.safetensors"))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epoch of every training step, as they come; nothing is tried out in advance."""
    seen: list[int] = []
    step = Stacked.step

    def noted(self: Stacked, train: Images, epoch: int, batch: int) -> Tensor:
        seen.append(epoch)
        return step(self, train, epoch, batch)

    monkeypatch.setattr(Stacked, "step", noted)
    monkeypatch.setattr(module._Job, "announce", lambda *_: 1)
    return seen


def test_a_snapshot_is_taken_before_training_and_after_each_epoch(toy: ImageDataset, tmp_path: Path) -> None:
    found = make(toy, tmp_path, count=2, epochs=2)
    train = toy.train.in_space(toy.space("normalized"))
    for expert in range(2):
        network = build_network(TINY.network, toy.spec.shape, 3, torch.Generator().manual_seed(expert))
        stacked = Stacked(TINY, toy.spec, [expert], CPU)
        for epoch in range(3):
            snapshot = found.at(expert, epoch)
            assert snapshot.shape == (sum(p.numel() for p in network.parameters()),)
            if epoch == 0:
                assert torch.equal(snapshot, nn.utils.parameters_to_vector(network.parameters()))
            assert torch.equal(snapshot, stacked.theta[0])
            stacked.begin(epoch, 60)
            for batch in range(STEPS):
                stacked.step(train, epoch, batch)
    assert not torch.equal(found.at(0, 2), found.at(1, 2))


def test_only_what_was_asked_for_can_be_read(toy: ImageDataset, tmp_path: Path) -> None:
    make(toy, tmp_path, count=2, epochs=2)
    found = make(toy, tmp_path, count=1, epochs=1)
    assert len(found) == 1
    for expert, epoch in ((1, 0), (-1, 0), (0, 2), (0, -1)):
        with pytest.raises(IndexError, match=f"expert {expert}, epoch {epoch} of 1 experts, 1 epochs"):
            found.at(expert, epoch)


def test_the_second_caller_trains_nothing_and_is_told_nothing(
    toy: ImageDataset, tmp_path: Path, steps: list[int]
) -> None:
    one = make(toy, tmp_path, count=2)
    assert len(steps) == 2 * 2 * STEPS
    said: list[str] = []
    two = make(toy, tmp_path, count=2, said=said)
    assert len(steps) == 2 * 2 * STEPS and said == []
    assert two.hash == one.hash and two.seconds == one.seconds > 0
    assert torch.equal(one.at(1, 1), two.at(1, 1))


def test_experts_and_epochs_added_later_have_the_bits_of_all_at_once(
    toy: ImageDataset, tmp_path: Path, steps: list[int]
) -> None:
    short = make(toy, tmp_path / "grown", count=1, epochs=1)
    steps.clear()
    grown = make(toy, tmp_path / "grown", count=2, epochs=3)
    assert steps == [1] * STEPS + [2] * STEPS + [0] * STEPS + [1] * STEPS + [2] * STEPS
    whole = make(toy, tmp_path / "whole", count=2, epochs=3)
    assert grown.hash == whole.hash
    # Fewer are still the same few.
    steps.clear()
    assert make(toy, tmp_path / "whole", count=1, epochs=1).hash == short.hash
    assert steps == []


@pytest.mark.parametrize("at_once", [1, 2])
def test_experts_stopped_by_their_budget_go_on_to_the_same_bits(
    toy: ImageDataset,
    tmp_path: Path,
    steps: list[int],
    spent_after: Callable[[int], Budget],
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
) -> None:
    whole = make(toy, tmp_path / "whole", count=3).hash
    monkeypatch.setattr(module._Job, "announce", lambda *_: at_once)
    steps.clear()
    for times in (5, 6):
        with pytest.raises(Stopped):
            make(toy, tmp_path / "stopped", count=3, budget=spent_after(times))
    assert len(steps) == 13
    assert make(toy, tmp_path / "stopped", count=3).hash == whole
    assert len(steps) == 2 * STEPS * (3 if at_once == 1 else 2)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path not in expert_files(tmp_path)]


def test_experts_that_were_killed_go_on_to_the_same_bits(
    toy: ImageDataset, tmp_path: Path, steps: list[int], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make(toy, tmp_path / "whole", epochs=3).hash
    monkeypatch.setenv("CONDENSE_CHECKPOINT_SECONDS", "0")
    step, kills = Stacked.step, [7, 10]

    def killed(self: Stacked, train: Images, epoch: int, batch: int) -> Tensor:
        clock.now += 1  # so that every step is followed by a checkpoint
        if kills and len(steps) == kills[0]:
            kills.pop(0)
            raise KeyboardInterrupt
        return step(self, train, epoch, batch)

    monkeypatch.setattr(Stacked, "step", killed)
    steps.clear()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            make(toy, tmp_path / "killed", epochs=3)
    assert make(toy, tmp_path / "killed", epochs=3).hash == whole
    assert len(steps) == 3 * STEPS


def test_checkpoints_whose_snapshots_are_gone_do_not_count(
    toy: ImageDataset, tmp_path: Path, steps: list[int], spent_after: Callable[[int], Budget]
) -> None:
    whole = make(toy, tmp_path / "whole").hash
    with pytest.raises(Stopped):
        make(toy, tmp_path / "stopped", budget=spent_after(5))
    next((tmp_path / "stopped").rglob("snapshots.part")).unlink()
    steps.clear()
    assert make(toy, tmp_path / "stopped").hash == whole
    assert len(steps) == 2 * STEPS


def test_a_snapshot_that_is_written_again_takes_its_old_place(tmp_path: Path) -> None:
    theta = torch.arange(24.0).view(3, 2, 4)
    first: dict[str, object] = {"hashes": []}
    for again in range(2):  # as after a kill between a snapshot and the next checkpoint
        with Rows(tmp_path, theta[0].shape) as rows:
            rows.verify_files(first)
            rows.load_state_dict(first)
            for epoch in range(again, 3):
                rows.write(epoch, theta[epoch])
            assert torch.equal(rows.read(), theta)
            first = {"hashes": rows.state_dict()["hashes"][:1]}  # type: ignore[index]


@pytest.mark.parametrize("damage", ["truncated", "a snapshot", "the velocity", "the head", "empty"])
def test_a_damaged_file_is_named_and_its_expert_trained_again(
    toy: ImageDataset, tmp_path: Path, steps: list[int], damage: str
) -> None:
    whole = make(toy, tmp_path, count=2, epochs=1)
    path = expert_files(tmp_path)[1]
    data = bytearray(path.read_bytes())
    with safe_open(path, framework="pt") as file:
        parameters = file.get_slice("velocity").get_shape()[0]
        offset = 8 + int.from_bytes(data[:8], "little")
        order = {name: file.get_tensor(name).view(-1).view(torch.uint8) for name in file.keys()}
    if damage == "truncated":
        data = data[: len(data) // 2]
    elif damage == "empty":
        data = bytearray()
    elif damage == "the head":
        data[20] ^= 1
    else:
        part = order["snapshots" if damage == "a snapshot" else "velocity"].numpy().tobytes()
        data[data.index(part, offset) + 4 * parameters // 2] ^= 1
    path.write_bytes(data)
    steps.clear()
    said: list[str] = []
    assert make(toy, tmp_path, count=2, epochs=1, said=said).hash == whole.hash
    assert said == [f"{path} is damaged: expert 1 is trained again"]
    assert len(steps) == STEPS
    assert make(toy, tmp_path, count=2, epochs=1).hash == whole.hash and len(steps) == STEPS


def test_whatever_the_experts_depend_on_has_a_place_of_its_own(toy: ImageDataset, tmp_path: Path) -> None:
    half = Images.of(toy.train.images[::2], toy.train.labels[::2], 3).in_space(toy.space("normalized"))
    made = [make(toy, tmp_path, epochs=1), make(toy, tmp_path, epochs=1, train=half)]
    made += [make(toy, tmp_path, epochs=1, space="zca")]
    for change in (replace(TINY, batch=15), replace(TINY, rho=0.3), replace(TINY, augment="none")):
        made.append(make(toy, tmp_path, epochs=1, training=change))
    assert len({one.hash for one in made}) == len(made) == len(list((tmp_path / "experts").iterdir()))


def test_the_room_that_experts_take_is_announced_before(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "in_bytes", lambda count: f"{count} bytes")
    monkeypatch.setattr(module, "duration", lambda _: "an hour")
    said: list[str] = []
    make(toy, tmp_path, count=2, epochs=3, said=said)
    (told,) = said
    assert told.startswith("2 experts (convnet-w32 on toy, 3 epochs) take about an hour, and ")
    tensors = []
    for path in expert_files(tmp_path):
        with safe_open(path, framework="pt") as file:
            tensors.append(sum(file.get_tensor(name).nbytes for name in file.keys()))
        assert 0 < path.stat().st_size - tensors[-1] < 1000
    assert told.endswith(f"and {sum(tensors)} bytes in {path.parent}")


def test_where_the_disk_has_no_room_nothing_is_begun(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(3_000_000))
    with pytest.raises(Refused, match=r"^7 experts .* take 4.45 MB in .*, where 3 MB are free"):
        make(toy, tmp_path, count=7, epochs=80)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_stops_with_the_setting_to_change(
    toy: ImageDataset, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="not finite at step .* lower the experts' learning rate"):
        make(toy, tmp_path, training=replace(TINY, lr=1e30, optimizer="sgd"))
    assert expert_files(tmp_path) == []


def test_experts_cost_what_the_epochs_asked_for_took_when_they_were_trained(
    toy: ImageDataset, tmp_path: Path, clock: Clock, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Stacked.step

    def slow(self: Stacked, train: Images, epoch: int, batch: int) -> Tensor:
        clock.now += 10
        return step(self, train, epoch, batch)

    monkeypatch.setattr(Stacked, "step", slow)
    assert make(toy, tmp_path, count=2, epochs=1).seconds == 2 * STEPS * 10
    assert make(toy, tmp_path, count=2, epochs=3).seconds == 2 * 3 * STEPS * 10
    assert make(toy, tmp_path, count=1, epochs=2).seconds == pytest.approx(2 * STEPS * 10)


def test_cached_experts_are_charged_once_at_what_they_cost(
    toy: ImageDataset, tmp_path: Path, clock: Clock, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Stacked.step

    def slow(self: Stacked, train: Images, epoch: int, batch: int) -> Tensor:
        clock.now += 10
        return step(self, train, epoch, batch)

    monkeypatch.setattr(Stacked, "step", slow)
    train = toy.train.in_space(toy.space("normalized"))
    for seed in (0, 0, 1):
        _, run = start(build_method("dm", "toy", 2)[0], toy, ipc=2, seed=seed, cache=tmp_path)
        assert len(run.experts(TINY, 2, 1, train)) == 2
        for _ in run.steps(3, {}):
            clock.now += 1
        made = run.distilled(torch.zeros(3, 1, 8, 8), torch.arange(3))
        assert made.provenance["seconds"] == 2 * STEPS * 10 + 3
    assert len(steps) == 2 * STEPS


@pytest.mark.gpu
def test_a_gpu_trains_side_by_side_what_a_cpu_trains_alone(toy: ImageDataset, tmp_path: Path) -> None:
    train = toy.train.in_space(toy.space("normalized"))
    here = make(toy, tmp_path / "cpu", count=3, epochs=1, train=train)
    there = make(toy, tmp_path / "gpu", count=3, epochs=1, train=train.to("cuda"))
    for expert in range(3):
        snapshot = there.at(expert, 1)
        assert snapshot.device.type == "cuda"
        torch.testing.assert_close(snapshot.cpu(), here.at(expert, 1), rtol=1e-3, atol=1e-4)
