"""The command line. Nothing heavy is imported before a command runs: ``--help`` answers at once.

The commands are in modules by subject; each registers its own with `condense.cli.command.command`.
"""

from condense.cli import listing, planning, recorded, stored, work
from condense.cli.command import app

__all__ = ["app", "listing", "planning", "recorded", "stored", "work"]
