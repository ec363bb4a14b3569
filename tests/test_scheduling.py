"""Tests that share what is dear to make run in one process."""

import pytest

from condense.data import KIND_NAMES
from condense.distillation.registry import methods, wrappers
from tests.scheduling import group_of


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_all_contract_tests_of_a_method_and_of_no_other_are_a_group(kind: str) -> None:
    groups = set()
    for name in methods(kind):
        ids = (f"tests/test_contracts.py::{test}{kind}-{name}]" for test in ("test_a[", "test_b[2-"))
        (group,) = {group_of(one) for one in ids}
        groups.add(group)
    assert len(groups) == len(methods(kind))


def test_all_contract_tests_of_a_wrapper_and_of_no_other_are_a_group() -> None:
    ids = [f"tests/test_wrapper_contracts.py::test_a[{name}]" for name in wrappers()]
    assert len({group_of(one) for one in ids}) == len(ids)
    assert group_of(ids[0].replace("test_a", "test_b")) == group_of(ids[0])


def test_the_ids_of_contract_tests_are_the_ones_that_are_grouped(request: pytest.FixtureRequest) -> None:
    for item in request.session.items:
        if item.nodeid.startswith("tests/test_contracts.py::"):
            params = item.callspec.params  # type: ignore[attr-defined]
            assert group_of(item.nodeid) == " ".join(("tests/test_contracts.py", "-".join(params["case"])))


def test_any_other_test_is_alone() -> None:
    for one in ("tests/test_api.py::test_a[images-dm]", "tests/methods/test_dm.py::test_a"):
        assert group_of(one) == one
