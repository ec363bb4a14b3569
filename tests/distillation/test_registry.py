from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from condense.distillation import ImageMethod, Recipe, registry
from condense.distillation.registry import build, methods, parse, register
from condense.errors import Refused
from condense.protocols import HARD_V1


@dataclass(frozen=True, kw_only=True)
class Knobs(ImageMethod):
    """A method with a field of every type."""

    name = "knobs"

    count: int = 3
    rate: float = 0.5
    fast: bool = False
    mode: str = "plain"
    limit: int | None = None
    share: float | None = None
    gradient: Literal["tesla", "unrolled"] | None = None
    power: Literal[1, 4] = 1


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A registry of the test's own; the methods that come with the suite are in it."""
    monkeypatch.setattr(registry, "_registered", dict(registry.registered()))
    registry.registered.cache_clear()
    yield
    registry.registered.cache_clear()


def test_the_methods_of_the_suite_are_found_by_name_in_order() -> None:
    assert list(methods()) == sorted(methods())
    assert {"dc", "dm", "dsa", "herding", "k_center", "random_subset"} <= set(methods())
    for name, cls in methods().items():
        assert cls.name == name and cls.__module__.startswith("condense.methods.")


def test_two_methods_of_one_name_are_refused_by_both_their_places(fresh: None) -> None:
    with pytest.raises(Refused, match=r"called 'dm': condense.methods.dm.DM and .*Second; rename the second"):

        @register
        @dataclass(frozen=True, kw_only=True)
        class Second(ImageMethod):
            name = "dm"


def test_registering_a_class_again_as_a_reload_does_is_no_clash(fresh: None) -> None:
    assert register(methods()["dm"]) is methods()["dm"]


def test_a_method_of_others_comes_through_its_entry_point(
    fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = SimpleNamespace(name="knobs", value="elsewhere:Knobs", load=lambda: Knobs)
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [point] if group == "condense.methods" else []
    )
    assert methods()["knobs"] is Knobs
    assert build("knobs", "digits", 1, {"count": "4"})[0] == Knobs(count=4)


def test_an_entry_point_without_a_method_or_with_a_taken_name_is_refused(
    fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for loaded, sentence in (
        (dict, "the entry point 'x' of elsewhere:x is not a condense method"),
        (type("Other", (ImageMethod,), {"name": "herding"}), "two methods are called 'herding'"),
    ):
        point = SimpleNamespace(name="x", value="elsewhere:x", load=lambda loaded=loaded: loaded)
        monkeypatch.setattr(registry, "entry_points", lambda group, point=point: [point])
        with pytest.raises(Refused, match=sentence):
            methods()


def test_an_unknown_method_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(Refused, match="unknown method 'hearding'; nearest: herding"):
        build("hearding", "digits", 1)


def test_a_cell_with_published_settings_gets_them_and_the_users_own_on_top(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cls: type[Any] = methods()["dm"]
    published = cls(pixel_space="raw", network="convnet-w32")
    recipe = Recipe(method=published, protocol=HARD_V1, source="a table")
    monkeypatch.setattr(cls, "recipes", {("toy", 3): recipe})
    assert build("dm", "toy", 3) == (published, recipe)
    assert build("dm", "toy", 2) == build("dm", "other", 3) == (cls(), None)
    changed, source = build("dm", "toy", 3, {"network": "mlp", "dm.iterations": "7"})
    assert asdict(changed) == asdict(published) | {"network": "mlp", "iterations": 7} and source is recipe


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("count", "7", 7),
        ("rate", "1e-3", 0.001),
        ("rate", "2", 2.0),
        ("fast", "true", True),
        ("fast", "False", False),
        ("mode", "none", "none"),
        ("mode", "7", "7"),
        ("limit", "none", None),
        ("limit", "7", 7),
        ("share", "None", None),
        ("share", "0.25", 0.25),
        ("gradient", "unrolled", "unrolled"),
        ("gradient", "none", None),
        ("power", "4", 4),
    ],
)
def test_text_becomes_a_value_of_the_fields_type(field: str, text: str, value: object) -> None:
    found = parse(Knobs(), field, text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("field", "text", "kind"),
    [
        ("count", "1.5", "int"),
        ("count", "none", "int"),
        ("rate", "fast", "float"),
        ("rate", "nan", "float"),
        ("rate", "inf", "float"),
        ("fast", "1", "bool"),
        ("limit", "", r"int \| None"),
    ],
)
def test_text_that_is_no_value_of_the_fields_type_is_refused(field: str, text: str, kind: str) -> None:
    with pytest.raises(Refused, match=rf"^{field}='{text}': knobs's {field} is of type {kind}$"):
        parse(Knobs(), field, text)


@pytest.mark.parametrize(
    ("field", "given", "value"),
    [("count", 7, 7), ("rate", 2, 2.0), ("fast", True, True), ("limit", None, None), ("power", 4, 4)],
)
def test_a_typed_value_is_taken_as_it_is(field: str, given: object, value: object) -> None:
    found = parse(Knobs(), field, given)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("count", 1.5),
        ("count", True),
        ("count", None),
        ("rate", float("nan")),
        ("rate", 10**400),
        ("fast", 1),
        ("mode", 7),
        ("limit", 1.5),
        ("power", 2),
        ("power", True),
        ("gradient", 3),
    ],
)
def test_a_typed_value_of_another_type_is_refused_with_its_setting(field: str, given: object) -> None:
    with pytest.raises(Refused) as refused:
        replace(Knobs(), **{field: parse(Knobs(), field, given)})  # type: ignore[arg-type]
    assert refused.value.setting == f"params.{field}"


def test_an_unknown_field_or_link_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(Refused, match="unknown parameter of dm 'lr_image'; nearest: lr_images"):
        build("dm", "digits", 1, {"lr_image": "1"})
    with pytest.raises(Refused, match="fyi.lr_images='1': unknown link of dm 'fyi'; known: dm"):
        build("dm", "digits", 1, {"fyi.lr_images": "1"})


def test_a_composition_is_built_left_to_right_and_named_so() -> None:
    method: Any
    method, recipe = build("dm+fyi", "digits", 1, {"iterations": "7", "fyi.flip_first": "true"})
    host, wrapper = method.links()
    assert recipe is None and wrapper is method and method.host is host
    assert method.title == "dm+fyi" and [link["name"] for link in method.chain()] == ["dm", "fyi"]
    assert host.config()["iterations"] == 7 and method.config() == {
        "flip_first": True,
        "edited_experts": False,
    }
    assert method.settings() == host.config() | {"fyi.flip_first": True, "fyi.edited_experts": False}
    cls: type[Any] = methods()["dm"]
    own = cls(network="mlp", pixel_space="raw")
    around = type(method)(host=own)
    assert (around.network, around.pixel_space, around.kind) == ("mlp", "raw", "images")
    assert around.chain()[0] == own.chain()[0]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("fyi", r"fyi stands behind a method, as in dm\+fyi"),
        ("dm+dsa", r"dm\+dsa: dsa is a method of its own and wraps no other"),
        ("dm+fy", r"unknown link of dm\+fy: 'fy'; nearest: fyi"),
        ("dm+", r"unknown link of dm\+: ''"),
        ("dm+fyi+fyi", r"dm\+fyi\+fyi: fyi stands there twice"),
        ("+fyi", "unknown method ''"),
    ],
)
def test_a_composition_that_makes_no_sense_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        build(name, "digits", 1)


def test_a_wrapper_without_a_recipe_cites_its_host_and_has_no_protocol() -> None:
    alone, own = build("dm", "cifar10", 10)
    method, recipe = build("dm+fkd", "cifar10", 10, {"fkd.epochs": "7"})
    assert own is not None and recipe is not None and recipe.protocol is None
    assert recipe.source == f"{own.source}; around it, fkd at its defaults"
    assert recipe.cited_by(method) == f"{recipe.source}; changed: fkd.epochs"
    assert method.links()[0] == alone and recipe.method == build("dm+fkd", "cifar10", 10)[0]
    assert build("dm+fkd", "digits", 10)[1] is None
    # Nothing was published around such a composition, so that a link around it has its defaults too.
    outer, twice = build("dm+fkd+fyi", "cifar10", 10)
    assert outer.config() == {"flip_first": False, "edited_experts": False}
    assert twice is not None and twice.protocol is None
    assert twice.source == f"{recipe.source}; around it, fyi at its defaults"
    assert twice.cited_by(outer) == twice.source


def test_a_recipe_names_the_settings_of_every_link_that_were_changed() -> None:
    method, recipe = build("dsa+fyi", "cifar10", 1, {"lr_images": "1", "fyi.flip_first": "false"})
    assert recipe is not None
    assert recipe.cited_by(method) == f"{recipe.source}; changed: lr_images, fyi.flip_first"
    assert recipe.cited_by(recipe.method) == recipe.source


def test_a_field_that_a_wrapper_has_of_its_host_is_set_at_the_host() -> None:
    for field in ("host", "network"):
        with pytest.raises(Refused, match=f"unknown parameter of fyi '{field}'"):
            build("dm+fyi", "digits", 1, {f"fyi.{field}": "x"})
