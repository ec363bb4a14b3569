"""What docstrings say: a first sentence, a paper, code, a warning, and what each attribute means."""

import inspect
import re
from typing import Any


def joined(text: str) -> str:
    return re.sub(r"``?([^`]*)``?", r"\1", " ".join(text.split()))


def summary(text: str) -> str:
    """Returns the first paragraph of a docstring as one line."""
    return joined(text.split("\n\n")[0])


def paper_of(text: str) -> str | None:
    """Returns the paper that a docstring names: what stands before the first address, and the address."""
    for part in text.split("\n\n"):
        line = joined(part)
        if found := re.search(r"https?://[^\s,;)]*[^\s,;.)]", line):
            told = line[: found.end()].removeprefix("Paper: ")
            return told if told.count("(") == told.count(")") else told.rpartition("(")[2]
    return None


def code_of(text: str) -> str | None:
    """Returns the repository or address of the authors' code that a docstring names."""
    found = re.search(r"[Aa]uthors' code:? ((?:https://)?[\w.-]+(?:/[\w.-]*\w)+)", joined(text))
    return found[1] if found else None


def warning_of(text: str) -> str | None:
    """Returns when a method should not be used."""
    for part in text.split("\n\n"):
        if part.startswith("When not to use it:"):
            return joined(part.removeprefix("When not to use it:"))
    return None


def meanings(cls: type[Any]) -> dict[str, str]:
    """Returns what the docstrings of a class and its parents say of its attributes."""
    found: dict[str, str] = {}
    for parent in reversed(cls.__mro__):
        _, _, section = inspect.cleandoc(parent.__doc__ or "").partition("Attributes:\n")
        section = section.split("\n\n")[0]
        for name, text in re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section, flags=re.MULTILINE):
            found[name] = joined(text)
    return found
