"""Entry point of the ``condense`` command: a command that ends early prints why and returns an exit code."""

import os
import sys
from contextlib import suppress
from typing import NoReturn

from condense.errors import Failed, Refused, Stopped, Terminated, memory_line, unusable


def main() -> None:
    """Runs the command line.

    Exit codes: 0 done, 2 refused (one sentence on standard error), 3 stopped by the budget or by SIGTERM,
    130 interrupted.
    """
    given: dict[str, object] = {}  # the options of the command, which it fills in
    try:
        code = _run(given)
        if sys.stdout is not None:  # it may be closed
            sys.stdout.flush()  # a full disk behind it is noticed here, not when nobody can tell any more
    except Refused as error:
        from condense.cli.resolve import sentence

        if isinstance(error, Failed) and sys.stderr is not None:
            print(error.trace, file=sys.stderr)
        _end(sentence(error, given), 2)
    except (Stopped, Terminated) as error:
        _end(str(error), 3)
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if (told := _told(error)) is None:
            raise
        _end(told, 2)
    if code == 130:
        _end("interrupted; the same command goes on from the last checkpoint", 130)
    sys.exit(code)


def _run(given: dict[str, object]) -> int:
    import typer

    from condense.cli.app import app
    from condense.termination import sigterm_as_budget

    try:
        # In standalone mode typer would print its usage with every refusal and swallow interrupts.
        with sigterm_as_budget():
            arguments = sys.argv[1:] or ["--help"]
            return int(app(args=arguments, prog_name="condense", standalone_mode=False, obj=given) or 0)
    except typer.Abort:
        return 130


def _told(error: Exception) -> str | None:
    """Returns the sentence about an error of the parser or of the system, or None for a fault of condense."""
    if hasattr(error, "format_message"):  # typer's parser; the class of these is in no public module of typer
        return " ".join(str(error.format_message()).split())
    if (line := memory_line(error)) is not None:
        return f"out of memory ({line}): ask for less, or use a larger machine"
    return unusable(error)


def _end(sentence: str, code: int) -> NoReturn:
    with suppress(OSError):
        sentence = sentence.encode(errors="backslashreplace").decode()  # names of files may be no UTF-8
        print(f"condense: {sentence}", file=sys.stderr, flush=True)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:  # what cannot be written is dropped, or Python would tell of it at the very end
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


if __name__ == "__main__":
    main()
