"""Which tests run in one process: those that share what is dear to make. All others go where there is room.

A test's place follows from its id. pytest-xdist's mark ``xdist_group`` would say the same beside the tests,
but with pytest 9.2 it has no effect: xdist 3.8 adds the group to an attribute that pytest no longer reads.
"""

import re

from xdist.scheduler import LoadScopeScheduling

GROUPS = (
    re.compile(r"(tests/test_contracts\.py)::.*\[(?:[^\]]*?-)?((?:images|graphs)-[^\]]+)\]$"),
    re.compile(r"(tests/test_wrapper_contracts\.py)::.*\[([^\]]+)\]$"),
    re.compile(r"(tests/board/test_front\.py)::"),
)
"""Contract tests of a method share its sets and networks, those of a wrapper too; the front page is one."""


def group_of(test: str) -> str:
    """Returns the group of a test, given by its id; a test that is alone has its id as its group."""
    for pattern in GROUPS:
        if found := pattern.match(test):
            return " ".join(found.groups())
    return test


class Grouped(LoadScopeScheduling):
    """Sends the tests of a group to one worker, large groups first."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
