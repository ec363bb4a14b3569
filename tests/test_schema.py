"""The forms of JSON files: what is refused in which words, and the schemas that are published."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pytest

from condense.errors import Refused
from condense.schema import (
    Amount,
    Name,
    Number,
    Percent,
    Positive,
    Sha256,
    Side,
    Text,
    Whole,
    extra_keys,
    find_form_error,
    read_form,
    unknown_keys,
)
from scripts.write_schemas import FOLDER, schemas


class Inner(TypedDict):
    name: Name
    share: NotRequired[Percent]


@dataclass(frozen=True, kw_only=True)
class Form:
    inner: tuple[Inner, ...]
    held: dict[str, Whole]
    size: Side = 1
    note: Text | None = None


GOOD: dict[str, Any] = {"inner": [{"name": "a"}, {"name": "b", "share": 100}], "held": {"x": 0}}


def test_a_value_of_the_form_keeps_its_numbers_as_they_are() -> None:
    read = read_form(GOOD, Form, "it:")
    assert read.inner[1]["share"] == 100 and type(read.inner[1]["share"]) is int
    assert find_form_error(GOOD, Form, "it") is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"size": 0}, "it.size is 0, not a whole number of at least 1"),
        ({"size": 13_000}, "it.size is 13000, not a whole number of at most 8192"),
        ({"size": 1.5}, "it.size is 1.5, not a whole number"),
        ({"size": True}, "it.size is true, not a whole number"),
        ({"note": ["a"]}, "it.note is not a text or null"),
        ({"note": "a\0b"}, r'it.note is "a\u0000b", not a text without control characters'),
        ({"held": []}, "it.held is not an object"),
        ({"held": {"x": -1}}, "it.held[...] is not a whole number of at least 0"),
        ({"inner": {}}, "it.inner is not a list"),
        ({"inner": [{}]}, "it.inner[0].name is missing"),
        ({"inner": [{"name": "a\nb"}]}, r'it.inner[0].name is "a\nb", not a text without control characters'),
        (
            {"inner": [{"name": "a", "share": 100.5}]},
            "it.inner[0].share is 100.5, not a number of at most 100.0",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_its_value(change: dict[str, Any], sentence: str) -> None:
    assert find_form_error(GOOD | change, Form, "it") == sentence
    with pytest.raises(Refused) as refusal:
        read_form(GOOD | change, Form, "f.json:")
    assert str(refusal.value) == sentence.replace("it.", "f.json: ")


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        (Number, [0, -1.5, 2**62], [1e39, -1e39, 2**63, "1", None, True]),
        (Positive, [1e-30, 3], [0, 0.0, -1, float("inf")]),
        (Amount, [0, 0.0, 1e38], [-1e-9, float("nan")]),
        (Name, ["", "digits@32", "x" * 255], ["x" * 256, "a\x7fb", "\x1b[2J", "a\n", "\n"]),
        (Sha256, ["0f" * 32], ["0f" * 31, "0f" * 31 + "0\n", "0F" * 32]),
    ],
)
def test_bounds_are_those_that_are_named(form: Any, good: list[object], bad: list[object]) -> None:
    assert [value for value in good if find_form_error(value, form, "it")] == []
    assert [value for value in bad if not find_form_error(value, form, "it")] == []


def test_keys_that_a_form_does_not_name_are_found_at_every_depth() -> None:
    more = {"inner": [{"name": "a"}, {"name": "b", "z": 1}], "held": {"y": 1}, "mood": 2}
    assert unknown_keys(more, Form, "content") == ["content.inner[1].z", "content.mood"]
    assert extra_keys({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}) == ["a.b"]


def test_the_published_schemas_are_up_to_date() -> None:
    """`scripts/write_schemas.py` writes them."""
    found = {path.name: path.read_text() for path in Path(FOLDER).iterdir()}
    assert found == schemas()
