"""What readers refuse before they wait or allocate: pipes, devices, sizes that lie, texts that are none."""

import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from condense import __main__ as entry
from condense.data import load_graphs, load_images
from condense.errors import Refused
from condense.files import home, require_writable
from condense.reading import BOMB, gunzip, open_file, parse_json, read_file, read_text, require_plausible
from condense.records.record import read_record
from condense.runner.queue import read_queue
from condense.store import load
from condense.teachers.foreign import read_teacher
from condense.teachers.teacher import load_teacher

READERS: dict[str, Callable[[Path], object]] = {
    "x.npz": lambda path: load_images(str(path)),
    "x.zip": lambda path: load_graphs(str(path)),
    "x.json": read_record,
    "x.toml": read_queue,
    "x.safetensors": load_teacher,
    "x.pt": lambda path: read_teacher(path, network="mlp", spec=load_images("digits").spec),
}


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_and_a_device_are_refused_without_waiting(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(Refused, match="it is no plain file"):
        READERS[name](tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(Refused, match="it is no plain file"):
        READERS[name](tmp_path / name)


def test_a_pipe_among_images_or_in_a_set_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "own" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "own" / name / "0.png")
        os.mkfifo(tmp_path / "own" / name / "1.png")
    with pytest.raises(Refused, match=r"can be read .*/1\.png \(no plain file\)"):
        load_images(str(tmp_path / "own"), size=8)
    os.mkfifo(tmp_path / "set.json")
    with pytest.raises(Refused, match=r"set\.json: it is no plain file"):
        load(tmp_path)


def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "long").write_bytes(b"\xff" * 9)
    for path, sentence in (
        (tmp_path / "loop", "cannot read .*loop: Too many levels of symbolic links"),
        (tmp_path / "none", "there is no file .*none"),
        (tmp_path, "it is a folder"),
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "a\0b", "there is no file"),
    ):
        with pytest.raises(Refused, match=sentence):
            open_file(path)
    with pytest.raises(Refused, match="it has 9 bytes, and at most 8 are read"):
        read_file(tmp_path / "long", 8)
    with pytest.raises(Refused, match="is no UTF-8 text: invalid start byte at byte 0"):
        read_text(tmp_path / "long")
    with pytest.raises(Refused, match="cannot write to .*loop/x: Too many levels of symbolic links"):
        require_writable(tmp_path / "loop" / "x")


def test_data_that_would_unpack_to_far_more_are_refused(tmp_path: Path) -> None:
    packed = gzip.compress(bytes(BOMB + 1))
    with pytest.raises(Refused, match="would unpack to"):
        gunzip(packed, "it")
    assert len(gunzip(gzip.compress(bytes(1000)), "it")) == 1000
    require_plausible(99 * BOMB, BOMB, "it")
    with pytest.raises(Refused, match="would unpack to"):
        require_plausible(BOMB + 1, BOMB // 1000, "it")


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (
            b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 8, 8), }",
            "is no array of numbers",
        ),
        (b"{'descr': '|O', 'fortran_order': False, 'shape': (4, 8, 8), }", "is no array of numbers"),
        (b"[" * 900, "is not an intact .npz file"),
        (b"[" * 5000, "is not an intact .npz file"),
    ],
)
def test_an_array_that_declares_what_it_does_not_hold_is_refused(
    header: bytes, sentence: str, tmp_path: Path
) -> None:
    labels = io.BytesIO()
    np.save(labels, np.array([0, 1, 0, 1]))
    header += b"\n"
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as file:
        for part in ("train", "test"):
            array = b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header + bytes(256)
            file.writestr(f"{part}_images.npy", array)
            file.writestr(f"{part}_labels.npy", labels.getvalue())
    with pytest.raises(Refused, match=sentence):
        load_images(str(tmp_path / "own.npz"))


def test_a_huge_image_is_not_decoded(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("1", (13_000, 13_000)).save(tmp_path / name / f"{number}.png")
    with pytest.raises(Refused, match="13000 x 13000 pixels, more than are read"):
        load_images(str(tmp_path), size=8)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (torch.eye(3).to_sparse(), "no plain tensor|cannot be read as plain tensors"),
        (torch.empty(3, 3, device="meta"), "no plain tensor|cannot be read as plain tensors"),
        (torch.zeros(1).expand(2**40), "declares tensors that are larger than the file"),
        (10**300, "holds no state dict"),
        (torch.zeros(3, dtype=torch.complex64), "weights are floating point"),
    ],
)
def test_weights_that_are_no_plain_numbers_are_refused(value: object, sentence: str, tmp_path: Path) -> None:
    torch.save({"a": value}, tmp_path / "w.pt")
    with pytest.raises(Refused, match=sentence):
        READERS["x.pt"](tmp_path / "w.pt")


def test_json_is_read_as_it_will_be_written() -> None:
    assert parse_json(b'{"a": [1, 2.5, "\\u00fc", "\\ud83d\\ude00"]}', "it") == {"a": [1, 2.5, "ü", "😀"]}
    for text, sentence in (
        (b"\xff", "can't decode"),
        (b'{"a": {"b": 1, "b": 2}}', "the key 'b' is there twice"),
        (b'{"a": "\\udc80"}', "surrogates not allowed"),
        (b'{"' + b"x" * 256 + b'": 1}', "a key has 256 characters"),
        (b"[" * 70 + b"]" * 70, "nested more than 64 levels deep"),
        (b"-Infinity", "no JSON number"),
    ):
        with pytest.raises(Refused, match=f"it is .*{sentence}"):
            parse_json(text, "it")


def test_a_user_without_a_home_folder_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    for name in ("CONDENSE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Refused, match="let CONDENSE_HOME name a folder"):
        home()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PermissionError(13, "Permission denied", "/closed/x"), "cannot use /closed/x: Permission denied"),
        (OSError(28, "No space left on device"), "cannot use a file or the output: No space left on device"),
        (ImportError("libx.so: failed to map segment from shared object"), "out of memory (libx.so: "),
        (RuntimeError("can't start new thread"), "out of memory (can't start new thread)"),
    ],
)
def test_an_error_of_the_system_ends_in_one_sentence(
    error: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr("condense.cli.app.app", fail)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    told = capsys.readouterr().err
    assert ended.value.code == 2 and told.startswith(f"condense: {sentence}") and told.count("\n") == 1


def test_a_full_disk_behind_the_output_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["condense", "--help"])
    with open("/dev/full", "w") as full, pytest.raises(SystemExit) as ended:
        monkeypatch.setattr("sys.stdout", full)
        entry.main()
    assert ended.value.code == 2


ODD = (
    "-0", "1e5", "1E400", "-1e-400", "9" * 18, "9" * 19, "18446744073709551615", "18446744073709551616",
    "-9223372036854775808", "-9223372036854775809", '{"a":1,"a":2}', '{"a" :1,"a":2}',
    r'{"a":1,"\u0061":2}', r'{"a":"\":","b":1}', r'"\ud800"', r'"\ud83d\ude00"', "NaN", "[Infinity]",
    '"\x7f"', '"\x01"', "01", "1.", " 1 ", '{"' + "k" * 255 + '":1}', '{"' + "k" * 256 + '":1}',
    '{"' + "é" * 200 + '":1}', "[" * 63 + "1" + "]" * 63, "[" * 64 + "]" * 64, "[" * 64 + "1" + "]" * 64,
    "[[1]," * 70 + "1" + "]" * 70, "\ufeff1", "", "[1,]", "1 2", '{"a":1.0,"b":1,"c":true,"d":null}',
    "1e5000", "0.1e1", "123456789012345678.5", "{1:2}", "é", "1234567890123456789.5", "-0." + "012345678" * 5,
    "[12.3456789012345678901234567890123456789,1]", '["1234567890123456789",9999999999999999999999]',
)  # fmt: skip
"""JSON at the bounds of what is read, and what is none."""


def told(text: str | bytes) -> tuple[str, str]:
    """The value of a text, with its types, or the sentence that refuses it."""
    try:
        return "read", repr(parse_json(text, "it"))
    except Refused as refused:
        return "refused", str(refused)


def test_the_quick_reading_of_json_agrees_with_the_careful_one(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = Random(0)
    record = next(Path(__file__).parent.glob("historic_records/*.json")).read_bytes()
    texts: list[str | bytes] = [*ODD, *(text.encode() for text in ODD), b'"\xff"', record]
    for _ in range(1500):
        place, size = dice.randrange(len(record)), dice.choice((0, 1, 1, 2, 30))
        put = bytes(
            dice.choice(b'0123456789eE+-."\\{}[],: \n\xc3\xff\x7fntu')
            for _ in range(dice.choice((0, 1, 1, 25)))
        )
        texts.append(record[:place] + put + record[place + size :])
    quick = [told(text) for text in texts]
    monkeypatch.setattr("condense.reading._plainly", lambda text: (False, None))
    assert quick == [told(text) for text in texts]
    assert {state for state, _ in quick[len(ODD) * 2 + 2 :]} == {"read", "refused"}


@pytest.mark.parametrize("value", [0.00012345678901234567, -0.0010486269549713427, "1234567890" * 6, 2**53])
def test_a_usual_record_is_read_quickly(value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def careful(*_: object, **__: object) -> None:
        raise AssertionError("it was read twice")

    records = Path(__file__).parent.glob("historic_records/*.json")
    texts = [json.dumps(json.loads(path.read_bytes()) | {"extra": value}) for path in records]
    assert texts
    monkeypatch.setattr("condense.reading.json.loads", careful)
    for text in texts:
        assert parse_json(text, "it")["extra"] == value
