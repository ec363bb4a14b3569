"""The test session checks the shapes in the signatures of condense and of its methods at their calls."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Self, TypeVar

import jaxtyping
import pytest
import shape_checks
import torch
from jaxtyping import Float
from torch import Tensor

from condense.networks import build_network

T = TypeVar("T")

attention = import_module("condense.methods.datadam").attention


def test_a_tensor_of_a_wrong_shape_fails() -> None:
    network = build_network("mlp", (1, 8, 8), 3, torch.Generator())
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    with pytest.raises(jaxtyping.TypeCheckError, match="'n c h w'"):
        network(torch.zeros(2, 64))


def test_a_tensor_of_a_wrong_type_fails() -> None:
    network = build_network("mlp", (1, 8, 8), 3, torch.Generator())
    with pytest.raises(jaxtyping.TypeCheckError, match="uint8, not any of"):
        network(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))


def test_methods_are_checked_too() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="maps"):
        attention(torch.zeros(2, 64), 4.0)


def test_an_int_passes_where_a_float_is_expected() -> None:
    assert attention(torch.ones(2, 3, 4, 4), 4).shape == (2, 16)


def decorated(thing: T) -> T:
    """What the session's import hook makes of a function or a class of condense."""
    made: T = shape_checks.checked(typechecker=shape_checks.check)(thing)
    return made


@decorated
def joined(one: Float[Tensor, "n d"], other: Float[Tensor, "n d"], rows: int = 0) -> Float[Tensor, "2*n d"]:
    return torch.cat([one, other])[rows:]


def test_a_letter_means_one_size_in_all_arguments_and_the_result() -> None:
    assert joined(torch.ones(2, 3), torch.ones(2, 3)).shape == (4, 3)
    assert joined(torch.ones(5, 1), torch.ones(5, 1)).shape == (10, 1)  # each call has sizes of its own
    with pytest.raises(jaxtyping.TypeCheckError, match="other"):
        joined(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(jaxtyping.TypeCheckError, match="return"):
        joined(torch.ones(2, 3), torch.ones(2, 3), rows=1)
    with pytest.raises(jaxtyping.TypeCheckError, match="rows"):
        joined(torch.ones(2, 3), torch.ones(2, 3), rows="1")  # type: ignore[arg-type]


def test_a_call_inside_another_has_sizes_of_its_own() -> None:
    @decorated
    def outer(one: Float[Tensor, "n d"]) -> Float[Tensor, "d n"]:
        return joined(one.T[:1, :1], one.T[:1, :1]) if len(one) > 5 else one.T

    assert outer(torch.ones(2, 3)).shape == (3, 2)
    with pytest.raises(jaxtyping.TypeCheckError, match="outer.*return"):
        outer(torch.ones(6, 3))


def test_the_fields_of_a_dataclass_and_arguments_of_its_methods_are_checked() -> None:
    @decorated
    @dataclass(frozen=True)
    class Pair:
        one: Float[Tensor, "n d"]
        other: Float[Tensor, " n"]

        @classmethod
        @decorated
        def ones(cls, n: int) -> Self:
            return cls(torch.ones(n, 1), torch.ones(n))

        @decorated
        def times(self, factor: float) -> Float[Tensor, " n"]:
            return self.other * factor

    assert len(Pair.ones(2).times(3)) == 2
    with pytest.raises(jaxtyping.TypeCheckError, match="other"):
        Pair(torch.ones(2, 3), torch.ones(3))
    with pytest.raises(jaxtyping.TypeCheckError, match="factor"):
        Pair.ones(2).times("3")  # type: ignore[arg-type]
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter n="):
        Pair.ones("2")  # type: ignore[arg-type]


def test_a_generators_arguments_are_checked_when_it_is_called() -> None:
    @decorated
    def rows(one: Float[Tensor, "n d"]) -> Iterator[Float[Tensor, " d"]]:
        yield from one

    assert len(list(rows(torch.ones(2, 3)))) == 2
    with pytest.raises(jaxtyping.TypeCheckError, match="one"):
        rows(torch.ones(2))


def test_of_very_many_calls_in_a_test_some_are_checked_and_of_the_next_test_all() -> None:
    def wrong_are_seen(calls: int) -> int:
        seen = 0
        for _ in range(calls):
            try:
                joined(torch.ones(2, 3), torch.ones(2, 3), rows=1)
            except jaxtyping.TypeCheckError:
                seen += 1
        return seen

    shape_checks.begin_test()
    assert wrong_are_seen(shape_checks.ALL) == shape_checks.ALL
    assert wrong_are_seen(10 * shape_checks.EACH) == 10
    shape_checks.begin_test()
    assert wrong_are_seen(1) == 1


@pytest.mark.usefixtures("unchecked_shapes")
def test_a_test_of_wrong_input_can_leave_shapes_unchecked() -> None:
    with pytest.raises(IndexError):
        attention(torch.zeros(2), 4.0)
