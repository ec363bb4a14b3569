"""What a long computation says of the time that it takes."""

import pytest
import torch

from condense.data import ImageDataset
from condense.distillation.engine import run_settings
from condense.distillation.registry import build
from condense.events import Teller
from condense.resources import Machine, duration
from condense.training import progress
from condense.training.progress import Cost, Progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"), (45, "45 s"), (59.4, "59 s"), (59.6, "1 min"), (720, "12 min"), (3585, "1 h"),
        (4980, "1 h 23 min"), (172740, "47 h 59 min"), (183600, "2 d 3 h"),
    ],
)  # fmt: skip
def test_a_time_is_written_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def timed(monkeypatch: pytest.MonkeyPatch, n: int, seconds: list[float], cost: Cost | None) -> None:
    """Lets steps end at these times after the end of the first one, which takes a minute."""
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)
    shown = Progress(Teller("dm on toy"), "distil", 0, n)
    for step, at in enumerate([0.0, *seconds], 1):
        shown.estimate(step, 1060.0 + at, cost, torch.device("cpu"))
    shown.close()


def test_a_long_computation_says_once_what_it_costs_without_its_first_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_TOLD", set())
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    cost = Cost("dm on toy", "fewer iterations make it shorter")
    for _ in range(2):
        timed(monkeypatch, 2490, [2.0, 4.0, 6.0, 8.0, 10.0, 99.0], cost)
    said = "about 1 h 23 min for dm on toy, on 2 threads; fewer iterations make it shorter\n"
    assert capsys.readouterr().err == said
    timed(monkeypatch, 40, [11.0], Cost("one slow step", ""))
    assert capsys.readouterr().err == "about 7 min for one slow step, on 2 threads\n"


def test_short_computations_and_too_few_steps_say_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_TOLD", set())
    cost = Cost("dm on toy", "")
    timed(monkeypatch, 100, [2.0, 4.0, 6.0, 8.0, 10.0], cost)
    timed(monkeypatch, 10**6, [2.0, 4.0], cost)
    timed(monkeypatch, 10**6, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], cost)
    timed(monkeypatch, 10**6, [2.0, 4.0, 6.0, 8.0, 10.0], None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "params", "clause"),
    [
        ("dm", {}, "fewer iterations or a narrower network (network=convnet-w32) make it shorter"),
        ("dm+fyi", {"network": "convnet-w32"}, "fewer iterations make it shorter"),
        (
            "mtt",
            {},
            "fewer iterations or fewer experts or a narrower network (network=convnet-w32) make it shorter",
        ),
    ],
)
def test_what_makes_a_run_shorter_are_its_methods_settings(
    name: str, params: dict[str, object], clause: str, toy: ImageDataset, home: object
) -> None:
    from condense.files import home as place

    method, _ = build(name, "toy", 1, params)
    settings = run_settings(
        method, toy, ipc=1, seed=0, recipe=None, machine=Machine(), cache=place(), teachers={}, given={}
    )
    assert settings.shorter == clause
