"""Writing labels: an epoch at a time, resumable, and not without the room that they need."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from condense.augment.views import draw_views
from condense.errors import Refused
from condense.store import ImageSet
from condense.store.images.replay import hash_images
from condense.store.images.shards import ShardLayout
from condense.store.images.writer import LabelWriter

Make = Callable[..., ImageSet]


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_resumed_writer_writes_the_same_files(make: Make, tmp_path: Path) -> None:
    made, layout = make(), ShardLayout(9, 3, 9)
    views = draw_views(9, (4, 4), stream(), crops="crop-flip", flip=False)
    logits = torch.randn(3, 9, 3, generator=stream(1))

    def write(writer: LabelWriter, epochs: range) -> None:
        for number in epochs:
            writer.add(torch.arange(9), views, logits[number])
            writer.close()

    images = hash_images(made.tensors(), made.content)
    whole, broken = (LabelWriter(tmp_path / name, layout, images, 3) for name in ("whole", "broken"))
    write(whole, range(3))
    write(broken, range(1))
    state = broken.state_dict()
    broken.add(torch.arange(9), views, logits[0])  # lost with the process
    again = LabelWriter(tmp_path / "broken", layout, images, 3)
    again.load_state_dict(state)
    write(again, range(1, 3))
    assert again.shards == whole.shards and len({shard["hash"] for shard in whole.shards}) == 3


def test_labels_that_the_disk_has_no_room_for_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = ShardLayout(views=50_000, classes=1000, batch=1024)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=31 * 10**9))
    LabelWriter(tmp_path / "there", layout, "x", 300)
    assert "labels: 300 files of 100.9 MB, 30.3 GB in all" in capsys.readouterr().err
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=30 * 10**9))
    assert "30.3 GB in all, and" in refusal(lambda: LabelWriter(tmp_path / "there", layout, "x", 300))


def test_logits_past_half_precision_are_refused(make: Make, tmp_path: Path) -> None:
    writer = LabelWriter(tmp_path, ShardLayout(2, 3, 2), "x", 1)
    views = draw_views(2, (4, 4), stream(), crops="crop-flip", flip=False)
    writer.add(torch.arange(2), views, torch.tensor([[1.0, 2.0, 3.0], [1.0, 7e4, 0.0]]))
    assert "epoch 0 do not fit half precision" in refusal(writer.close)
