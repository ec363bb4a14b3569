"""The part that sets of images and of graphs share: facts, cards, and what a notebook shows."""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from condense.data.images.pixels import Zca
from condense.errors import Refused
from condense.store import DistilledSet, ImageSet, load, save
from condense.store.card import THUMBNAIL
from tests.store.graph_sets import make as make_graphs

Make = Callable[..., ImageSet]


@pytest.fixture(params=["images", "soft images", "whitened images", "graphs", "trees"])
def distilled(request: pytest.FixtureRequest, make: Make) -> DistilledSet:
    """An unsaved set of each kind."""
    if request.param in ("graphs", "trees"):
        return make_graphs(trees=request.param == "trees", weights="whole")
    if request.param == "whitened images":
        draw = torch.Generator().manual_seed(1)
        real = torch.randint(0, 256, (60, 3, 4, 4), generator=draw, dtype=torch.uint8)
        return make(space=Zca.fit(real, "f" * 64))
    return make(soft=torch.float32 if request.param == "soft images" else None)


def thumbnail(html: str) -> Image.Image:
    (encoded,) = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html)
    return Image.open(io.BytesIO(base64.b64decode(encoded)))


def test_the_repr_says_in_one_line_what_the_set_is(distilled: DistilledSet) -> None:
    line, content = repr(distilled), distilled.content
    total = sum(distilled.nbytes().values())
    assert "\n" not in line and line.startswith(
        f"{type(distilled).__name__}({content['method']['name']} on toy"
    )
    assert f"{content['counts']['stored']} {distilled.kind} stored" in line
    assert f"{total} bytes, hash {distilled.hash[:12]})" in line


def test_a_notebook_shows_the_main_facts_and_the_gallery(distilled: DistilledSet) -> None:
    html = distilled._repr_html_()
    for fact in ("toy, ", distilled.content["method"]["name"], distilled.hash, "in all"):
        assert fact in html
    picture = thumbnail(html)
    assert max(picture.size) <= THUMBNAIL and len(picture.convert("RGB").getcolors(2**20) or []) > 1


def test_a_gallery_that_fails_leaves_the_facts(
    distilled: DistilledSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: DistilledSet) -> bytes:
        raise RuntimeError("no <font> here")

    monkeypatch.setattr(type(distilled), "gallery", fail)
    html = distilled._repr_html_()
    assert distilled.hash in html and "no &lt;font&gt; here" in html and "<img" not in html


def test_names_are_escaped_in_a_notebook(make: Make) -> None:
    part = {**make().content["dataset"], "name": "<b>toy</b>"}
    html = make(content={"dataset": part})._repr_html_()
    assert "<b>" not in html and "&lt;b&gt;toy&lt;/b&gt;" in html


def test_a_set_has_the_same_card_before_and_after_a_time_on_disk(
    distilled: DistilledSet, tmp_path: Path
) -> None:
    save(distilled, tmp_path / "set")
    stored = load(tmp_path / "set")
    assert type(stored) is type(distilled) and repr(stored) == repr(distilled)
    assert distilled.card() == stored.card() == (tmp_path / "set" / "README.md").read_text()


def test_the_facts_are_the_parts_with_bytes_the_counts_and_the_labels(distilled: DistilledSet) -> None:
    facts = distilled.facts()
    assert {name[9:]: size for name, size in facts.items() if name.startswith("bytes of")} == {
        part: size for part, size in distilled.nbytes().items() if size
    }
    assert facts["count stored"] == distilled.content["counts"]["stored"]
    assert facts["label kind"] == distilled.content["label"]["kind"]
    assert ("bytes as dense floats" in facts) == (distilled.kind == "graphs")


def test_verifying_a_set_that_contradicts_itself_is_refused(distilled: DistilledSet) -> None:
    assert distilled.verify() == distilled.hash
    distilled.content["counts"]["stored"] += 1
    with pytest.raises(Refused, match="this set contradicts itself: content.counts.stored"):
        distilled.verify()


def test_a_whitened_set_shows_its_colours_with_its_space_at_hand(make: Make) -> None:
    draw = torch.Generator().manual_seed(1)
    zca = Zca.fit(torch.randint(0, 256, (60, 3, 4, 4), generator=draw, dtype=torch.uint8), "f" * 64)
    plain = make(space=zca)
    known = plain.with_space(zca)
    assert known.hash == plain.hash and known.gallery() != plain.gallery()
    assert known.to("cpu").space is zca and known.in_space(zca) is known
