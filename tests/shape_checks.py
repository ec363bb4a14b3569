"""The check of calls in the test session against the shapes and types in the function's signature.

`tests/conftest.py` imports this module before any of condense, whose modules are then decorated as they are
imported. jaxtyping's import hook finds the functions, and beartype checks them. `checked` stands between
them: jaxtyping's own decorator takes up to 40 % of the time of a test that trains, since it binds the
arguments of each call by `inspect.signature`, and checks them twice if the result is annotated.

A test that trains calls a few functions thousands of times, mostly with the same shapes. Of each function the
first `ALL` calls in a test are checked, and every `EACH`-th after them.
"""

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import partial, wraps
from typing import Any, Self, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import TypeCheckError, config, install_import_hook
from jaxtyping._storage import pop_shape_memo, push_shape_memo

ALL, EACH = 20, 10
"""Calls of a function in one test that are all checked, and the step between those checked after them."""

beartyped = beartype(conf=BeartypeConf(is_pep484_tower=True))
jaxtyped: Callable[..., Any] = jaxtyping.jaxtyped


class _Now:
    """The number of the test that runs."""

    test = 0


def begin_test() -> None:
    """Begins to count calls anew."""
    _Now.test += 1


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a function so that each call is checked. An int passes where a float is expected.

    `typing.Self` stays unchecked: beartype resolves it only in a class that is decorated as a whole, and the
    hook decorates functions one by one. So does what a string names that is not known yet.
    """
    hints = function.__annotations__
    own = dict(hints)
    hints.update({name: resolved(hint, function.__globals__) for name, hint in own.items()})
    try:
        return beartyped(function)
    finally:
        hints.update(own)


def resolved(hint: Any, names: dict[str, Any]) -> Any:
    """Returns a hint without strings, or `Any` if one of them, or the hint itself, has no meaning here."""

    def bearer() -> None: ...

    bearer.__annotations__ = {"hint": hint}
    try:
        found = get_type_hints(bearer, names, include_extras=True)["hint"]
    except Exception:  # what the evaluation of a string may raise
        return Any
    return Any if found is Self else found


def checked(thing: Any = None, *, typechecker: Callable[..., Any]) -> Any:
    """Decorates a function, or the constructor of a dataclass, as `jaxtyping.jaxtyped` does.

    Each letter of a shape means one size in the arguments and the result of a call. The arguments are
    checked before the call, the result after it.

    Args:
        thing: A function or a class; without it, a decorator is returned.
        typechecker: The decorator that checks a function's arguments and result, one after the other.
    """
    if thing is None:
        return partial(checked, typechecker=typechecker)
    if inspect.isclass(thing):
        if is_dataclass(thing) and not hasattr(thing.__init__, "__wrapped__"):
            setattr(thing, "__init__", checked(thing.__init__, typechecker=typechecker))  # noqa: B010
        return thing
    if inspect.isgeneratorfunction(thing) or any(
        "{" in repr(hint) for hint in thing.__annotations__.values()
    ):
        # A generator has to be checked when it is called; sizes in braces are attributes of arguments.
        return jaxtyped(thing, typechecker=typechecker)
    inner = typechecker(thing)
    calls, test = 0, 0

    @wraps(thing)
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        nonlocal calls, test
        calls, test = (calls + 1 if test == _Now.test else 1), _Now.test
        if config.jaxtyping_disable or (calls > ALL and calls % EACH):
            return thing(*args, **kwargs)
        push_shape_memo({})
        try:
            return inner(*args, **kwargs)
        except BeartypeCallHintViolation as violation:
            raise TypeCheckError(str(violation)) from violation
        finally:
            pop_shape_memo()

    return call


setattr(jaxtyping, "jaxtyped", checked)  # noqa: B010 (the name by which the hook decorates)
install_import_hook(["condense"], "shape_checks.check")
