"""The command line, called in the test's own process."""

from dataclasses import replace
from pathlib import Path

import pytest

from condense import __main__ as entry
from condense.protocol import Stage
from condense.protocols import HARD_V1
from tests.cli.command import Condense, Ended


@pytest.fixture
def condense(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Condense:
    """The command in this process, in a folder of the test's own, under a hard-v1 of three epochs."""
    short = replace(HARD_V1, stages=(Stage(epochs=3),))
    monkeypatch.setattr("condense.protocols.PROTOCOLS", {"hard-v1": short})
    monkeypatch.setenv("CONDENSE_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Ended:
        monkeypatch.setattr("sys.argv", ["condense", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        code = ended.value.code or 0
        assert isinstance(code, int)
        return Ended(code, *capsys.readouterr())

    return call
