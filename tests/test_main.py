"""How the command ends where there is not enough memory."""

import pytest
import torch

from condense import __main__ as entry


def end_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the command, whose work fails with an error."""

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr("condense.cli.app.app", fail)
    entry.main()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory: 80 GiB\nand more"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 80000000000 bytes."),
    ],
)
def test_a_lack_of_memory_ends_in_one_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        end_with(error, monkeypatch)
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert told.startswith("condense: out of memory (") and told.count("\n") == 1


def test_any_other_error_of_torch_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="shapes differ"):
        end_with(RuntimeError("shapes differ"), monkeypatch)
