import sys
from mmap import mmap
from typing import Protocol

import pytest
import torch

from condense.errors import Refused
from condense.resources import Budget, PeakMemory, device_name, versions

CPU = torch.device("cpu")


class Clock(Protocol):
    now: float


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("9m", 540), ("2h", 7200), ("0.5m", 30), ("1e2s", 100), (None, None)]
)
def test_a_budget_is_read_from_seconds_minutes_and_hours(text: str | None, seconds: float | None) -> None:
    assert Budget.parse(text).seconds == seconds


@pytest.mark.parametrize("text", ["", "90", "s", "-9m", "0s", "nans", "infh", "2d", "2 hours", "m9"])
def test_a_text_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Refused, match=rf"the budget '{text}' is no time: write 90s, 9m or 2h"):
        Budget.parse(text)


def test_a_budget_is_spent_when_its_time_is_over_and_not_before(clock: Clock) -> None:
    budget = Budget(60)
    assert not budget.spent()
    clock.now += 59.5
    assert not budget.spent() and budget.spent(clock.now + 0.5)
    clock.now += 1
    assert budget.spent()


def test_no_budget_lasts_for_ever(clock: Clock) -> None:
    clock.now = 1e18
    assert not Budget().spent()


def test_the_stop_names_the_budget_the_place_and_the_way_on() -> None:
    told = str(Budget.parse("9m").stop("step 3 of 7"))
    assert told == "the budget of 540 s is spent (step 3 of 7); the same command goes on from here"


def test_the_peak_counts_memory_that_was_given_back() -> None:
    memory = PeakMemory(CPU)
    before = memory.peak()
    with mmap(-1, 2**28) as pages:  # from the kernel: the heap might have that much to spare
        pages.write(bytes(2**28))
    assert memory.peak() >= before + 2**27


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process reset its high-water mark")
def test_the_peak_does_not_count_what_was_before_it() -> None:
    # Mapped, since what an allocator gets back it need not give back.
    with mmap(-1, 2**27) as memory:
        memory.write(b"1" * 2**27)
        earlier = PeakMemory(CPU).peak()
    assert PeakMemory(CPU).peak() <= earlier - 2**26


def test_the_peak_of_an_earlier_part_is_a_floor() -> None:
    memory = PeakMemory(CPU)
    memory.at_least(2**50)
    memory.at_least(5)
    assert memory.peak() == 2**50


def test_versions_and_device_name_what_results_may_depend_on() -> None:
    found = versions()
    assert found["torch"] == torch.__version__.split("+")[0] or found["torch"] == torch.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"numpy", "torchvision", "kornia", "scikit-learn", "condense-bench"} <= set(found)
    assert device_name(CPU).startswith("CPU (")
