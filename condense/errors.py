"""The two ways a command ends early: refused with one sentence, or stopped by its budget."""

import difflib
from collections.abc import Iterable


class Refused(Exception):
    """Bad input, told in one sentence that holds the value at fault; the command ends with exit code 2."""


class Stopped(Exception):
    """The time budget ran out; what was done is kept and the command ends with exit code 3."""


def unknown(kind: str, name: str, known: Iterable[str]) -> Refused:
    """The refusal of a name that nothing answers to, with the nearest names that something does.

    Args:
        kind: What was looked for, as a noun: ``"network"``.
        name: The name as the user gave it.
        known: Every valid name.

    Returns:
        The exception, to be raised where the name was looked up.
    """
    names = sorted(known)
    spelt = {known_name.lower(): known_name for known_name in names}  # NCI1 is near to nci1
    close = difflib.get_close_matches(name.lower(), spelt, n=3, cutoff=0.5)
    nearest = [spelt[one] for one in close] or names
    word = "nearest" if len(nearest) < len(names) else "known"
    return Refused(f"unknown {kind} {name!r}; {word}: {', '.join(nearest)}")
