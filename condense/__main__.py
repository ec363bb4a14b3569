"""Entry point of the ``condense`` command: turns the two ways of ending early into exit codes."""

import sys

from condense.errors import Refused, Stopped


def main() -> None:
    """Runs the command line.

    Exit codes: 0 done, 2 refused (one sentence on standard error), 3 stopped by the budget, 130 interrupted.
    """
    from condense.cli import app

    try:
        app()
    except Refused as error:
        print(f"condense: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped as error:
        print(f"condense: {error}", file=sys.stderr)
        sys.exit(3)
    except KeyboardInterrupt:
        print("condense: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
