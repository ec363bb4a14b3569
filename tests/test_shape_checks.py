"""The test session checks the shapes in the signatures of condense and of its methods at every call."""

from importlib import import_module

import jaxtyping
import pytest
import torch

from condense.networks import build_network

attention = import_module("condense.methods.datadam").attention


def test_a_tensor_of_a_wrong_shape_fails() -> None:
    network = build_network("mlp", (1, 8, 8), 3, torch.Generator())
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    with pytest.raises(jaxtyping.TypeCheckError, match="'n c h w'"):
        network(torch.zeros(2, 64))


def test_a_tensor_of_a_wrong_type_fails() -> None:
    network = build_network("mlp", (1, 8, 8), 3, torch.Generator())
    with pytest.raises(jaxtyping.TypeCheckError, match="u8"):
        network(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))


def test_methods_are_checked_too() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="maps"):
        attention(torch.zeros(2, 64), 4.0)


def test_an_int_passes_where_a_float_is_expected() -> None:
    assert attention(torch.ones(2, 3, 4, 4), 4).shape == (2, 16)


@pytest.mark.usefixtures("unchecked_shapes")
def test_a_test_of_wrong_input_can_leave_shapes_unchecked() -> None:
    with pytest.raises(IndexError):
        attention(torch.zeros(2), 4.0)
