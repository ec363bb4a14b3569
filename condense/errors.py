"""The ways in which work ends early: an input is refused, the time budget runs out, or SIGTERM arrives.

The core names settings, never options of a command line. ``str(error)`` is the sentence for a Python caller;
`condense.cli.resolve` turns the same fields into the sentence for the command line.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """A change of the input that would be accepted.

    Attributes:
        settings: The settings to change, by name, with the values to give them; a value of None stands for
            any value of the user's own. A method's field is called ``params.FIELD``, that of a wrapper
            ``params.WRAPPER.FIELD``.
        effect: What the change does, as a verb phrase: ``"trains one here"``.
        command: The verb that has to be run with the settings first, such as ``"teach"``; None if they belong
            to the same call.
    """

    settings: Mapping[str, object] = field(default_factory=dict)
    effect: str = ""
    command: str | None = None


def setting_text(name: str, value: object) -> str:
    """Returns a setting and its value as a Python caller writes them: ``ipc=0``."""
    name = name.removeprefix("params.")
    return name if value is None else f"{name}={value!r}"


def remedy_text(remedy: Remedy) -> str:
    """Returns a remedy as a Python caller reads it: ``teacher='trained' trains one here``."""
    given = ", ".join(setting_text(name, value) for name, value in remedy.settings.items())
    if remedy.command is not None:
        given = f"condense {remedy.command}" + (f" with {given}" if given else "")
    return f"{given} {remedy.effect}".strip()


class Refused(Exception):
    """An input cannot be used; the command line ends with exit code 2. The arguments are its attributes.

    Args:
        reason: What is wrong, as a sentence without a full stop. It holds the values at fault and names no
            option of the command line.
        setting: The name of the setting at fault (see `Remedy.settings`); None if the reason says enough.
        value: The setting's value as it was given.
        nearest: Valid names that resemble the value.
        remedies: Changes that would be accepted.
    """

    def __init__(
        self,
        reason: str,
        *,
        setting: str | None = None,
        value: object = None,
        nearest: Iterable[str] = (),
        remedies: Iterable[Remedy] = (),
    ) -> None:
        super().__init__(reason)
        self.reason, self.setting, self.value = reason, setting, value
        self.nearest, self.remedies = tuple(nearest), tuple(remedies)

    def sentence(
        self,
        setting: Callable[[str, object], str] = setting_text,
        remedy: Callable[[Remedy], str] = remedy_text,
    ) -> str:
        """Returns the whole message; `setting` writes a setting with its value, and `remedy` a remedy."""
        start = "" if self.setting is None else f"{setting(self.setting, self.value)}: "
        return start + "; ".join([self.reason, *map(remedy, self.remedies)])

    def with_remedies(self, *more: Remedy) -> "Refused":
        """Adds remedies and returns the refusal."""
        self.remedies += more
        return self

    def __str__(self) -> str:
        return self.sentence()


def install(extra: str) -> str:
    """Returns how an extra is installed: condense is on no package index, so in a checkout of it."""
    return f"pip install -e '.[{extra}]' in a checkout of condense"


class Failed(Refused):
    """A fault in the code of a method or of condense has ended the work on a cell; others go on.

    Args:
        reason: What was at work, and the error.
        trace: The traceback of the error, for whoever mends the code.
    """

    def __init__(self, reason: str, trace: str = "") -> None:
        super().__init__(reason)
        self.trace = trace


class Stopped(Exception):
    """The time budget ran out; what was done is kept, and the command line ends with exit code 3."""


class Terminated(BaseException):
    """SIGTERM arrived outside of a loop with checkpoints; the command line ends with exit code 3.

    Like an interrupt it is no `Exception`, so that code which expects faults of its own does not catch it.
    """


class Damaged(Exception):
    """A file does not hold what was once written to it; its content is made again."""


NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "failed to map segment", "start new thread")
"""What messages say where memory ran out; libraries raise plain errors then, some while they are imported."""


def memory_line(error: Exception) -> str | None:
    """Returns what an error says that was raised because memory ran out; None for other errors.

    For a CPU, torch raises a plain RuntimeError.
    """
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    plain = isinstance(error, RuntimeError | ImportError | OSError)
    if named or (plain and any(one in str(error).lower() for one in NO_MEMORY)):
        return (str(error).strip().splitlines() or ["too large"])[0]
    return None


def unusable(error: Exception) -> str | None:
    """Returns the sentence about a file that the system cannot use; None for other errors."""
    if isinstance(error, OSError) and error.strerror:
        place = error.filename if error.filename is not None else "a file or the output"
        return f"cannot use {place}: {error.strerror}"
    return None


def unknown(kind: str, name: str, known: Iterable[str], *, setting: str | None = None) -> Refused:
    """Returns the refusal of an unknown name, with the nearest valid names.

    Args:
        kind: What was looked up, as a noun: ``"network"``.
        name: The name as the user gave it.
        known: Every valid name.
        setting: The setting that held the name; the reason then leaves the name to it.
    """
    names = sorted(known)
    lower = {known_name.lower(): known_name for known_name in names}  # so that NCI1 is near to nci1
    close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)
    nearest = [lower[one] for one in close] or names
    word = "nearest" if len(nearest) < len(names) else "known"
    what = kind if setting else f"{kind} {name!r}"
    reason = f"unknown {what}; {word}: {', '.join(nearest)}"
    return Refused(reason, setting=setting, value=name if setting else None, nearest=nearest)
