"""``condense teach``, and ``--teacher FILE`` wherever a method runs: what they refuse and what they leave."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from condense import __main__ as entry
from condense.data import ImageDataset, Images
from condense.distillation import ImageRun, TeacherMethod
from condense.distillation.registry import registered
from condense.protocol import Stage
from condense.protocols import HARD_V1
from condense.store import ImageSet
from condense.teachers import fixed, load_teacher


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Condense = Callable[..., Ended]
SHORT = ("--network", "convnet-w32-bn", "--epochs", 12, "--batch", 19)


@dataclass(frozen=True, kw_only=True)
class Means(TeacherMethod):
    """The class means, by a teacher that only looks on."""

    name = "means"

    network: str = "convnet-w32-bn"

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        run.teacher(self.teacher, self.training(), train)
        images = torch.stack([train.images[train.of_class(label)].mean(0) for label in range(3)])
        return run.distilled(images, torch.arange(3))


@pytest.fixture
def condense(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Condense]:
    """The command in this process, with the method above, under a hard-v1 of three epochs."""
    short = replace(HARD_V1, stages=(Stage(epochs=3),))
    monkeypatch.setattr("condense.protocols.PROTOCOLS", {"hard-v1": short})
    monkeypatch.setattr(
        "condense.distillation.registry._registered", dict(registered()) | {("images", "means"): Means}
    )
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Ended:
        monkeypatch.setattr("sys.argv", ["condense", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        code = ended.value.code or 0
        assert isinstance(code, int)
        return Ended(code, *capsys.readouterr())

    registered.cache_clear()
    yield call
    registered.cache_clear()


def test_a_teacher_is_trained_written_and_described(
    condense: Condense, toy_file: Path, toy: ImageDataset
) -> None:
    ended = condense("teach", "--dataset", toy_file, *SHORT, "--out", "nets/toy.safetensors")
    assert ended.code == 0
    teacher = load_teacher(Path("nets/toy.safetensors"))
    assert teacher.header is not None and teacher.header.train_hash == toy.train.hash
    assert teacher.header.training["epochs"] == 12 and teacher.header.training["batch"] == 19
    held = f"{teacher.accuracy:.2f} % of held-out training images"
    assert ended.out.splitlines() == [
        f"convnet-w32-bn on toy: {held}, {teacher.nbytes} bytes",
        f"hash: {teacher.hash}",
        "file: nets/toy.safetensors",
    ]
    again = condense("teach", "--dataset", toy_file, *SHORT, "--out", "nets/toy.safetensors")
    assert again.out == ended.out and "90/90" not in again.err
    assert all(line.startswith("toy: ") for line in again.err.splitlines())  # notes on the data alone


def test_notes_on_the_data_are_told_before_a_teacher_is_trained(tmp_path: Path, condense: Condense) -> None:
    rng = np.random.RandomState(0)
    for number in range(12):
        file = tmp_path / "pets" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.randint(0, 256, (8, 8, 3)[: 2 + (number > 2)], np.uint8)).save(file)
    ended = condense("teach", "--dataset", "pets", *SHORT, "--out", "a.safetensors")
    assert ended.code == 0 and "pets: of 12 images, converted to RGB: 3 grey\n" in ended.err


def test_a_pinned_teacher_is_what_methods_then_take(
    condense: Condense, toy_file: Path, toy: ImageDataset
) -> None:
    wanted = ("distill", "--dataset", toy_file, "--method", "means")
    before = condense(*wanted)
    assert before.code == 2 and f"condense teach --dataset {toy_file} --network" in before.err
    pinned = condense("teach", "--dataset", toy_file, *SHORT, "--pin")
    teacher = fixed("toy", toy.train.hash)
    assert pinned.code == 0 and f"hash: {teacher.hash}" in pinned.out
    made = condense(*wanted)
    assert made.code == 0
    assert ImageSet.load(Path(made.out.strip())).content["teacher"]["hash"] == teacher.hash
    other = condense("teach", "--dataset", toy_file, *SHORT, "--pin", "--lr", 0.05)
    assert other.code == 2 and "is the fixed teacher of toy already" in other.err
    assert other.err.count("\n") == 1  # before it was trained
    assert fixed("toy", toy.train.hash).hash == teacher.hash


def test_a_budget_stops_it_and_a_repeat_goes_on(condense: Condense, toy_file: Path) -> None:
    wanted = ("teach", "--dataset", toy_file, *SHORT, "--out", "toy.safetensors")
    stopped = condense(*wanted, "--budget", "0.000001s")
    assert stopped.code == 3 and "the budget of 1e-06 s is spent" in stopped.err
    assert not Path("toy.safetensors").exists()
    assert condense(*wanted).code == 0
    first = load_teacher(Path("toy.safetensors")).hash
    again = condense("teach", "--dataset", toy_file, *SHORT, "--out", "two.safetensors")
    assert again.code == 0 and load_teacher(Path("two.safetensors")).hash == first


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("", "the teacher would not be stored; --out PATH writes it to a file; --pin "),
        ("--out toy.pt", "--out toy.pt: a teacher is a file NAME.safetensors"),
        ("--out a-file/toy.safetensors", "cannot write to a-file: a-file is not a folder"),
        ("--pin --network convnt", "unknown network 'convnt'; nearest: convnet"),
        ("--pin --network vgg11-bn", "vgg11-bn needs images of at least 32 x 32 pixels; these are 8 x 8"),
        ("--pin --epochs 0", "--epochs 0: at least 1 is needed"),
        ("--pin --batch 0", "--batch 0: at least 1 is needed"),
        ("--pin --lr 0", "--lr 0.0: a learning rate is"),
        ("--pin --lr nan", "--lr nan: a learning rate is"),
        ("--pin --budget soon", "the budget 'soon' is no time"),
        ("--pin --data-dir nowhere", "--data-dir nowhere: there is no such folder"),
        ("--pin --dataset digits", "the fixed teacher of digits, 9567c61c, is shipped: none can be pinned"),
        ("--pin --dataset digts", "--dataset digts: unknown dataset"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    condense: Condense, toy_file: Path, arguments: str, sentence: str
) -> None:
    Path("a-file").write_text("")
    data = [] if "--dataset" in arguments else ["--dataset", toy_file]
    ended = condense("teach", *data, *arguments.split())
    assert ended.code == 2 and ended.out == ""
    assert ended.err.startswith("condense: ") and sentence in ended.err and ended.err.count("\n") == 1
    assert [path.name for path in Path.cwd().iterdir()] == ["a-file"]


@pytest.fixture
def file(condense: Condense, toy_file: Path) -> Path:
    assert condense("teach", "--dataset", toy_file, *SHORT, "--out", "toy.safetensors").code == 0
    return Path("toy.safetensors")


def test_a_file_is_taken_by_its_hash_and_a_repeat_needs_no_file(
    condense: Condense, toy_file: Path, file: Path
) -> None:
    hash_ = load_teacher(file).hash
    wanted = (
        "run",
        "--dataset",
        toy_file,
        "--method",
        "means",
        "--student",
        "convnet-w32",
        "--eval-seeds",
        1,
        "--no-baselines",
    )
    first = condense(*wanted, "--teacher", file)
    assert first.code == 0, first.err
    (folder,) = Path("sets").iterdir()
    content = ImageSet.load(folder).content
    assert content["method"]["chain"][0]["config"]["teacher"] == content["teacher"]["hash"] == hash_
    assert "toy.safetensors" not in (folder / "set.json").read_text()
    file.rename("elsewhere.safetensors")
    for again in (("--teacher", "elsewhere.safetensors"), ("--param", f"teacher={hash_}")):
        ended = condense(*wanted, *again)
        assert ended.code == 0 and "up to date" in ended.err


def test_a_queues_cell_names_a_file_as_well(condense: Condense, toy_file: Path, file: Path) -> None:
    queue = f'[[cell]]\nmethod = "means"\ndataset = "{toy_file}"\nstudent = "convnet-w32"\neval_seeds = 1\n'
    Path("queue.toml").write_text(f'{queue}teacher = "{file}"\n')
    ended = condense("bench", "queue.toml")
    assert ended.code == 0, ended.err
    (folder,) = Path("sets").iterdir()
    assert ImageSet.load(folder).content["teacher"]["hash"] == load_teacher(file).hash
    Path("queue.toml").write_text(f"{queue}teacher = 3\n")
    assert re.search("teacher = 3 is not text", condense("bench", "queue.toml").err)


@pytest.mark.parametrize("verb", ["run", "distill"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--method means --teacher none.pt", "there is no file none.pt"),
        ("--method means --teacher bad.pt", "bad.pt cannot be read as plain tensors"),
        ("--method random_subset --teacher bad.pt", "--teacher bad.pt: random_subset has no teacher"),
        (
            "--method means --param teacher=bad.pt",
            "this field holds one of fixed, trained or a hash, not a file; --teacher bad.pt",
        ),
        ("--method means --param teacher=fixd", "unknown teacher of means 'fixd'; nearest: fixed"),
    ],
)
def test_a_file_that_is_no_teacher_is_refused_before_anything_is_written(
    condense: Condense, toy_file: Path, verb: str, arguments: str, sentence: str
) -> None:
    Path("bad.pt").write_bytes(b"no tensors")
    ended = condense(verb, "--dataset", toy_file, *arguments.split())
    assert ended.code == 2 and sentence in ended.err and ended.err.count("\n") == 1
    assert [path.name for path in Path.cwd().iterdir()] == ["bad.pt"]
