"""Entry point of the ``condense`` command: a command that ends early says why and has an exit code for it."""

import sys
from typing import NoReturn

from condense.errors import Refused, Stopped


def main() -> None:
    """Runs the command line.

    Exit codes: 0 done, 2 refused (one sentence on standard error), 3 stopped by the budget, 130 interrupted.
    """
    import typer

    from condense.cli.app import app

    try:
        # Left to itself typer would print its usage with every refusal and keep interrupts to itself.
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
    except Refused as error:
        _end(str(error), 2)
    except Stopped as error:
        _end(str(error), 3)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:
        if _too_large(error):
            told = (str(error).strip().splitlines() or ["too large"])[0]
            _end(f"out of memory ({told}): ask for less, or use a larger machine", 2)
        # The refusals of the command line's own parser; their class is in no public module of typer.
        if not hasattr(error, "format_message"):
            raise
        _end(error.format_message(), 2)
    if code == 130:
        _end("interrupted; the same command goes on from the last checkpoint", 130)
    sys.exit(code)


def _too_large(error: Exception) -> bool:
    """Whether there was not enough memory; torch says so of a CPU's in words only."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def _end(sentence: str, code: int) -> NoReturn:
    print(f"condense: {sentence}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
