"""Runs every check in order and stops at the first that fails; people and CI run this one script.

    python scripts/check.py

It uses the Python that runs it, in which condense must be installed: ``pip install -e ".[dev]"``.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

CHECKS = (
    ("ruff", "check"),
    ("ruff", "format", "--check"),
    ("mypy", "--num-workers", "2"),
    ("pytest", "-n", "auto", "--dist", "loadgroup"),
    ("condense", "leaderboard", "--check"),
)
"""Modules and their arguments; their settings are in ``pyproject.toml``."""


def main() -> None:
    """Runs the checks and exits with the code of the first that fails."""
    # The tests start many processes, which would all compile the same modules if none could keep its work.
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for module, *arguments in CHECKS:
        print(f"== {' '.join([module, *arguments])}", flush=True)
        done = subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, env=settings, check=False)
        if done.returncode:
            sys.exit(done.returncode)
    print("== all checks passed")


if __name__ == "__main__":
    main()
