"""A set on disk: bit for bit what it was, whole or not there, and refused in one sentence if damaged."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import condense
from condense.data.images.pixels import PixelSpace, affine
from condense.errors import Refused
from condense.files import canonical, hash_tensors
from condense.store import ImageSet, load, save, verify

Make = Callable[..., ImageSet]


@pytest.fixture
def stored(make: Make, tmp_path: Path) -> Path:
    """A soft-labelled set on disk."""
    make(soft=torch.float32).save(tmp_path / "set")
    return tmp_path / "set"


def edit(
    folder: Path, change: Callable[[dict[str, dict[str, object]]], object], rehash: bool = False
) -> None:
    """Changes a manifest; with `rehash` as a careful forger would."""
    manifest = json.loads((folder / "set.json").read_text())
    change(manifest)
    if rehash:
        tensors = load_file(folder / "data.safetensors")
        manifest["provenance"]["hash"] = hash_tensors(tensors, prefix=canonical(manifest["content"]))
    (folder / "set.json").write_text(json.dumps(manifest))


def put(place: str, value: object) -> Callable[[dict[str, dict[str, object]]], None]:
    """The change that gives a dotted place of the manifest's content a value."""

    def change(manifest: dict[str, dict[str, object]]) -> None:
        *parents, last = place.split(".")
        inner = manifest["content"]
        for key in parents:
            inner = inner[key]  # type: ignore[assignment]
        inner[last] = value

    return change


def refusal(folder: Path) -> str:
    """The one sentence that loading a folder is refused with."""
    with pytest.raises(Refused) as caught:
        load(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence and str(folder) in sentence
    return sentence


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
@pytest.mark.parametrize("soft", [None, torch.float16, torch.float32])
def test_a_set_comes_back_bit_for_bit(
    make: Make, tmp_path: Path, dtype: torch.dtype, soft: torch.dtype | None, raw: PixelSpace
) -> None:
    before = make(dtype=dtype, soft=soft, space=raw if dtype == torch.uint8 else None)
    content_hash = save(before, tmp_path / "set")
    after = load(tmp_path / "set")
    assert after.content == before.content
    for name, tensor in before.tensors().items():
        assert torch.equal(tensor, after.tensors()[name]) and tensor.dtype == after.tensors()[name].dtype
    assert content_hash == before.hash == after.hash == after.provenance["hash"] == verify(tmp_path / "set")
    assert after.provenance["device"] == "cpu"


def test_saving_twice_writes_the_same_bytes(make: Make, tmp_path: Path) -> None:
    for name in ("one", "two"):
        make(soft=torch.float32).save(tmp_path / name)
    for file in ("set.json", "data.safetensors", "README.md", "gallery.png"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert sorted(os.listdir(tmp_path / "one")) == [
        "README.md",
        "data.safetensors",
        "gallery.png",
        "set.json",
    ]


def test_the_package_itself_opens_sets_and_does_not_wait_for_torch(stored: Path) -> None:
    assert condense.load(stored).hash == condense.verify(stored)
    assert condense.ImageSet is ImageSet and isinstance(condense.__version__, str)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        condense.lode  # noqa: B018
    code = "import condense, sys; assert condense.__version__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_json_and_safetensors_are_enough_to_read_a_set(stored: Path, make: Make) -> None:
    code = """
import json, sys
from safetensors.numpy import load_file
content = json.load(open("set.json"))["content"]
tensors = load_file("data.safetensors")
assert not {"torch", "condense"} & set(sys.modules)
images, labels = tensors["images"], tensors["labels"]
print(json.dumps([content["dataset"]["classes"], labels.tolist(), images.ravel().tolist()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=stored, capture_output=True, text=True, check=True
    )
    classes, labels, images = json.loads(done.stdout)
    expected = make(soft=torch.float32)
    assert classes == expected.content["dataset"]["classes"] and labels == expected.labels.tolist()
    assert torch.equal(torch.tensor(images), expected.images.flatten())


def test_a_path_that_is_no_set_is_refused_with_its_name(tmp_path: Path) -> None:
    assert "there is no folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    assert "is a file" in refusal(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "there is no set.json" in refusal(tmp_path / "empty")
    (tmp_path / "odd" / "set.json").mkdir(parents=True)
    assert "cannot read" in refusal(tmp_path / "odd")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ('{"content": NaN}', "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("\ud800", "is not JSON"),
        ("[]", "is not the manifest of a condense-set"),
        ('{"content": {"format": "condense-record"}}', "is not the manifest of a condense-set"),
        ('{"content": {"format": "condense-set", "version": 99}}', "reads version 1: update condense"),
        ('{"content": {"format": "condense-set", "version": true}}', "True is no version"),
        ('{"content": {"format": "condense-set", "version": 1}}', "provenance.hash is missing"),
        (" " * (16 * 2**20 + 1), "has 16777217 bytes, and at most 16777216 are read"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(stored: Path, text: str, sentence: str) -> None:
    (stored / "set.json").write_bytes(text.encode(errors="surrogatepass"))
    assert sentence in refusal(stored)


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("counts.stored", 8, "content.counts.stored is 8, but there are 9 images"),
        ("counts.per_class", [3, 3, 3], "content.counts.per_class does not agree"),
        ("dataset.classes", ["a", "b"], "soft labels of"),
        ("bytes.images", 1, "content.bytes does not agree with the tensors"),
        ("decode", [{"name": "exec", "version": 1}], "unknown decode step 'exec'"),
        ("label.kind", "spoken", "unknown label kind 'spoken'"),
        ("label.kind", "projected", "content.label.adapted is missing"),
        ("label.kind", "hard", "the label kind is hard, but there are soft labels"),
        ("pixels.space", "cmyk", "unknown pixel space 'cmyk'"),
        ("method.chain", [{"name": "dm"}], "content.method.chain[0].version is missing"),
        ("tensors", [], "holds a tensor 'images' that set.json does not list"),
    ],
)
def test_a_manifest_that_is_not_true_is_refused_even_with_a_fitting_hash(
    stored: Path, place: str, value: object, sentence: str
) -> None:
    edit(stored, put(place, value), rehash=True)
    assert sentence in refusal(stored)


def test_an_altered_manifest_is_refused_and_an_altered_provenance_is_not(stored: Path) -> None:
    edit(stored, lambda manifest: manifest["provenance"].update(device="elsewhere"))
    assert load(stored).provenance["device"] == "elsewhere"
    edit(stored, put("ipc", 5))
    assert "was altered" in refusal(stored)


def test_data_cut_at_any_length_are_refused(stored: Path) -> None:
    whole = (stored / "data.safetensors").read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        (stored / "data.safetensors").write_bytes(whole[:length])
        assert "data.safetensors is truncated or damaged" in refusal(stored)
    (stored / "data.safetensors").write_bytes(whole + b"\0")
    assert "data.safetensors" in refusal(stored)
    (stored / "data.safetensors").unlink()
    assert "data.safetensors is missing" in refusal(stored)


def test_one_flipped_bit_anywhere_in_the_data_is_refused(stored: Path) -> None:
    whole = (stored / "data.safetensors").read_bytes()
    body = len(whole) - load(stored).nbytes()["images"] - load(stored).nbytes()["labels"]
    for place in (*range(0, body, 11), *range(body, len(whole), 97), len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        (stored / "data.safetensors").write_bytes(damaged)
        assert "data.safetensors" in refusal(stored)


def test_other_tensors_than_those_listed_are_refused(stored: Path) -> None:
    tensors = load_file(stored / "data.safetensors")
    for changed, sentence in (
        ({"images": tensors["images"], "labels": tensors["labels"]}, "lacks the tensor 'soft'"),
        ({**tensors, "more": tensors["labels"].clone()}, "holds a tensor 'more'"),
        ({**tensors, "images": tensors["images"].half()}, "holds 'images' as float16"),
        ({**tensors, "images": tensors["images"][:8].clone()}, "lists float32 [9, 3, 4, 4]"),
    ):
        save_file(changed, stored / "data.safetensors")
        assert sentence in refusal(stored)


@pytest.mark.parametrize("label", [-1, 3])
def test_class_ids_without_a_class_are_not_stored(make: Make, tmp_path: Path, label: int) -> None:
    bad = make()
    bad.labels[0] = label
    with pytest.raises(Refused, match=r"class ids run from .*, but there are 3 classes"):
        bad.save(tmp_path / "set")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["images", "soft"])
def test_numbers_that_are_not_finite_are_not_stored(make: Make, tmp_path: Path, name: str) -> None:
    bad = make(soft=torch.float32)
    bad.tensors()[name].view(-1)[4] = float("inf")
    with pytest.raises(Refused, match=f"1 numbers of the {name} are not finite"):
        bad.save(tmp_path / "set")


def test_a_forged_set_with_numbers_that_are_not_finite_is_refused(stored: Path) -> None:
    tensors = load_file(stored / "data.safetensors")
    tensors["images"][0] = float("nan")
    save_file(tensors, stored / "data.safetensors")
    edit(stored, lambda manifest: None, rehash=True)
    assert "48 numbers of the images are not finite" in refusal(stored)


def test_an_older_set_is_replaced_and_nothing_else_stays_behind(make: Make, stored: Path) -> None:
    new = make(seed=1)
    assert new.save(stored) == load(stored).hash == new.hash
    assert os.listdir(stored.parent) == ["set"]


def test_a_new_folder_is_made_with_its_parents_and_an_empty_one_is_taken(make: Make, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for path in (tmp_path / "a" / "b", tmp_path / "c" / "d"):
        assert make().save(str(path)) == verify(str(path))


def test_saving_never_destroys_other_files(make: Make, stored: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("mine")
    (stored / "notes.txt").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "set.json").write_text('{"mine": 1}')
    for path, sentence in (
        (tmp_path / "file", "it is a file"),
        (tmp_path / "folder", "it holds thesis.tex"),
        (stored, "it holds notes.txt"),
        (tmp_path / "other", "is no condense-set"),
    ):
        with pytest.raises(Refused, match=sentence):
            make().save(path)
    assert (tmp_path / "file").read_text() == (stored / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("broken", ["fsync", "rename"])
@pytest.mark.parametrize("there", [True, False])
def test_a_failure_at_any_point_of_saving_leaves_what_was_there(
    make: Make, stored: Path, monkeypatch: pytest.MonkeyPatch, broken: str, there: bool
) -> None:
    target = stored if there else stored.parent / "new"
    before = verify(stored)
    real = getattr(os, broken)
    for calls_until_failure in range(8):
        left = [calls_until_failure]

        def fail_once(*args: object, left: list[int] = left) -> object:
            left[0] -= 1
            if left[0] == -1:
                raise OSError(28, "No space left on device")
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(os, broken, fail_once)
            try:
                make(seed=2).save(target)
            except Refused as error:
                assert "No space left on device" in str(error)
                finished = False
            else:
                finished = True
        if finished:
            break
        assert verify(stored) == before or (target == stored and verify(stored) == make(seed=2).hash)
        assert {entry for entry in os.listdir(stored.parent) if entry.startswith(".")} == set()
    assert finished and verify(target) == make(seed=2).hash and calls_until_failure >= 1


def test_a_place_that_cannot_be_written_is_refused(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot write"):
        make().save(tmp_path / "file" / "set")


def test_a_whitened_set_is_stored_with_or_without_the_whitening_at_hand(make: Make, tmp_path: Path) -> None:
    from condense.data.images.pixels import Zca

    real = torch.randint(0, 256, (60, 3, 4, 4), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    zca = Zca.fit(real, "f" * 64)
    whitened = make(space=zca)
    assert whitened.with_space(zca).save(tmp_path / "with") == whitened.save(tmp_path / "without")
    cards = [(tmp_path / name / "README.md").read_text() for name in ("with", "without")]
    assert "colours mean nothing" in cards[1] and "colours mean nothing" not in cards[0]
    with pytest.raises(Refused, match="which is not"):
        whitened.with_space(affine("raw", [0.0] * 3, [1.0] * 3))
