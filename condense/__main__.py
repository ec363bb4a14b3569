"""Entry point of the ``condense`` command: a command that ends early prints why and returns an exit code."""

import sys
from typing import NoReturn

from condense.errors import Refused, Stopped, Terminated
from condense.termination import sigterm_as_budget


def main() -> None:
    """Runs the command line.

    Exit codes: 0 done, 2 refused (one sentence on standard error), 3 stopped by the budget or by SIGTERM,
    130 interrupted.
    """
    import typer

    from condense.cli.app import app
    from condense.cli.resolve import sentence

    given: dict[str, object] = {}  # the options of the command, which it fills in
    try:
        # In standalone mode typer would print its usage with every refusal and swallow interrupts.
        with sigterm_as_budget():
            code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False, obj=given)
    except Refused as error:
        _end(sentence(error, given), 2)
    except (Stopped, Terminated) as error:
        _end(str(error), 3)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:
        if _too_large(error):
            told = (str(error).strip().splitlines() or ["too large"])[0]
            _end(f"out of memory ({told}): ask for less, or use a larger machine", 2)
        # A refusal by typer's parser; the class of these is in no public module of typer.
        if not hasattr(error, "format_message"):
            raise
        _end(error.format_message(), 2)
    if code == 130:
        _end("interrupted; the same command goes on from the last checkpoint", 130)
    sys.exit(code)


def _too_large(error: Exception) -> bool:
    """Tells whether memory ran out; for a CPU, torch raises a plain RuntimeError."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def _end(sentence: str, code: int) -> NoReturn:
    print(f"condense: {sentence}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
