"""The command line as its user meets it: what it refuses, how it ends, and what it leaves behind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from condense import __main__ as entry
from condense.data import ImageDataset
from condense.distillation import distill
from condense.distillation.registry import build
from tests.cli.command import Condense


@pytest.fixture(scope="session")
def made(toy: ImageDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored set: one image of each of the three classes."""
    folder = tmp_path_factory.mktemp("made")
    method, _ = build("random_subset", toy.spec.name, 1)
    found, run = distill(method, toy, ipc=1, cache=folder / "cache")
    found.save(folder / "set")
    return folder / "set"


@pytest.fixture
def stored(made: Path, tmp_path: Path) -> Path:
    """A copy of the stored set, for the test to damage."""
    return shutil.copytree(made, tmp_path / "stored")


def tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def refused(condense: Condense, *arguments: object) -> str:
    """The sentence of a refusal, which leaves nothing behind."""
    before = tree(Path.cwd())
    ended = condense(*arguments)
    assert (ended.code, ended.out) == (2, ""), ended
    assert ended.err.startswith("condense: ") and ended.err.count("\n") == 1, ended.err
    assert tree(Path.cwd()) == before
    return ended.err.removeprefix("condense: ").rstrip("\n")


@pytest.mark.parametrize("verb", ["run", "distill"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--method dn", "unknown method 'dn'; nearest: dm, "),
        ("--method typo", "unknown method 'typo'; known: ast, "),
        ("--dataset cifar11", "--dataset cifar11: unknown dataset; nearest: cifar10, cifar100"),
        ("--dataset no/such/folder", "there is no file or folder no/such/folder"),
        ("--dataset none.npz", "there is no file none.npz"),
        ("--dataset cut.npz", "cut.npz is not an intact .npz file: "),
        ("--dataset one.npz", "one.npz has only one class, '0'; a classifier needs at least two"),
        ("--dataset tiny-imagenet", "tiny-imagenet-200"),
        ("--data-dir nowhere", "--data-dir nowhere: there is no such folder"),
        ("--ipc 0", "--ipc 0: at least one image per class is needed"),
        ("--ipc=-3", "--ipc -3: at least one image per class is needed"),
        ("--method random_subset --ipc 21", "--ipc 21: class '0' of toy has 20 training images"),
        ("--method herding --ipc 21", "--ipc 21: class '0' of toy has 20 training images"),
        ("--method dsa --ipc 21", "--ipc 21: class '0' of toy has 20 training images"),
        ("--method dc --param init=real --ipc 21", "--ipc 21: class '0' of toy has 20 training images"),
        ("--seed=-1", "--seed -1: a seed is a whole number from 0"),
        ("--size 0", "the size 0 is too small: images must be at least 4 x 4 pixels"),
        ("--param network=convnt", "unknown network 'convnt'; nearest: convnet"),
        ("--param iteration=5", "unknown parameter of dm 'iteration'; nearest: iterations"),
        ("--param iterations=many", "--param iterations=many: dm's iterations is of type int"),
        ("--param iterations=0", "--param iterations=0: iterations of dm must be at least 1"),
        ("--param dc.iterations=5", "--param dc.iterations=5: unknown link of dm 'dc'"),
        ("--param iterations", "--param iterations: write key=value"),
        ("--budget soon", "the budget 'soon' is no time: write 90s, 9m or 2h"),
        ("--budget 90", "the budget '90' is no time: write 90s, 9m or 2h"),
        ("--budget=-5m", "the budget '-5m' is no time: write 90s, 9m or 2h"),
        ("--device tpu9", "--device tpu9: there is no such device here; write cpu, cuda, cuda:1 or auto"),
        ("--device meta", "--device meta: there is no such device here; write cpu, cuda, cuda:1 or auto"),
        ("--out a-file/sets", "cannot write to a-file/sets: a-file is not a folder"),
        ("--ipcs 1", "No such option"),
        ("--ipc many", "Invalid value for '--ipc': "),
        ("twice", "Got unexpected extra argument"),
    ],
)
def test_bad_input_is_refused_in_one_sentence_before_anything_is_written(
    verb: str, arguments: str, sentence: str, condense: Condense, toy_file: Path
) -> None:
    write_bad_files(toy_file)
    data = [] if "--dataset" in arguments else ["--dataset", toy_file]
    assert sentence in refused(condense, verb, *data, *arguments.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--protocol hard-v2", "--protocol hard-v2: unknown protocol; nearest: hard-v1"),
        ("--protocol published", "there is no published protocol for it; --protocol hard-v1 "),
        ("--student resnet19", "unknown network 'resnet19'; nearest: resnet18"),
        ("--eval-seeds 0", "--eval-seeds 0: hard-v1 has the seeds 0 to 4"),
        ("--eval-seeds 6", "--eval-seeds 6: hard-v1 has the seeds 0 to 4"),
        ("--results a-file/results", "cannot write to a-file/results: a-file is not a folder"),
        (
            "--method dc --ipc 21 --baselines",
            "takes all samples of the classes that have fewer; --no-baselines ",
        ),
    ],
)
def test_a_bad_evaluation_is_refused_before_the_distillation_starts(
    arguments: str, sentence: str, condense: Condense, toy_file: Path
) -> None:
    write_bad_files(toy_file)
    assert sentence in refused(condense, "run", "--dataset", toy_file, *arguments.split())


def write_bad_files(toy_file: Path) -> None:
    """In the current folder: a truncated dataset, one of a single class, and a file in a folder's place."""
    Path("cut.npz").write_bytes(toy_file.read_bytes()[:2000])
    images, labels = np.zeros((4, 8, 8), dtype=np.uint8), np.zeros(4, dtype=np.int64)
    np.savez("one.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    Path("a-file").write_text("")


def truncated(folder: Path) -> None:
    data = folder / "data.safetensors"
    data.write_bytes(data.read_bytes()[:-20])


def altered(folder: Path) -> None:
    tensors = load_file(folder / "data.safetensors")
    tensors["images"] = 255 - tensors["images"]
    save_file(tensors, folder / "data.safetensors")


def relabelled(folder: Path) -> None:
    text = (folder / "set.json").read_text()
    (folder / "set.json").write_text(text.replace('"ipc": 1', '"ipc": 2'))


def without_data(folder: Path) -> None:
    (folder / "data.safetensors").unlink()


def without_manifest(folder: Path) -> None:
    (folder / "set.json").unlink()


def no_json(folder: Path) -> None:
    (folder / "set.json").write_text("{")


def of_version_99(folder: Path) -> None:
    manifest = json.loads((folder / "set.json").read_text())
    manifest["content"]["version"] = 99
    (folder / "set.json").write_text(json.dumps(manifest))


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize("verb", ["verify", "show", "evaluate"])
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (truncated, "stored/data.safetensors is truncated or damaged: "),
        (altered, "stored/data.safetensors or set.json was altered: "),
        (relabelled, "stored/data.safetensors or set.json was altered: "),
        (without_data, "stored/data.safetensors is missing"),
        (without_manifest, "there is no set.json in it"),
        (no_json, "stored/set.json is not JSON: "),
        (of_version_99, "stored/set.json: this set is of version 99; this condense reads version 1"),
        (gone, "there is no folder "),
    ],
)
def test_a_set_that_is_not_whole_is_refused_by_the_file_at_fault(
    verb: str, damage: Callable[[Path], None], sentence: str, stored: Path, condense: Condense
) -> None:
    damage(stored)
    assert sentence in refused(condense, verb, stored)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("", "the set was made of 'toy': unknown dataset; known: "),
        ("--dataset digits", "the set was made of toy with training split "),
        ("--dataset TOY --protocol published", "there is no published protocol for it; --protocol hard-v1 "),
        ("--dataset TOY --student lenet-5", "unknown network 'lenet-5'; nearest: lenet"),
        ("--dataset TOY --eval-seeds 9", "--eval-seeds 9: hard-v1 has the seeds 0 to 4"),
        ("--dataset TOY --teacher a.pt", "--teacher a.pt: under hard-v1 a set's own teacher labels nothing"),
        ("--reference whole", "evaluate takes either the folder of a set or a reference, such as "),
    ],
)
def test_a_stored_set_is_not_evaluated_with_settings_that_do_not_fit(
    arguments: str, sentence: str, stored: Path, toy_file: Path, condense: Condense
) -> None:
    given = arguments.replace("TOY", str(toy_file)).split()
    assert sentence in refused(condense, "evaluate", stored, *given)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("evaluate", "evaluate takes either the folder of a set or a reference, such as "),
        ("evaluate --reference hole", "unknown reference 'hole'; nearest: whole"),
        ("evaluate --reference whole --teacher a.pt", "--teacher a.pt: whole goes by the class ids"),
        ("show", "Missing argument"),
        ("leaderboard", "there is no folder results; condense run makes records"),
        ("bench none.toml", "there is no file none.toml"),
        ("lost", "No such command 'lost'"),
    ],
)
def test_a_command_without_what_it_needs_is_refused(
    arguments: str, sentence: str, condense: Condense
) -> None:
    assert sentence in refused(condense, *arguments.split())


def test_a_refusal_leaves_a_board_that_is_there_as_it_is(condense: Condense, toy_file: Path) -> None:
    Path("results").mkdir()
    Path("leaderboard.md").write_text("mine")
    refused(condense, "run", "--dataset", toy_file, "--method", "typo")
    refused(condense, "bench", "none.toml")
    assert Path("leaderboard.md").read_text() == "mine"


def subset(toy_file: Path, *more: str, ipc: int = 1) -> list[str]:
    """The shortest run: a random subset, and one small student on it."""
    short = ["--method", "random_subset", "--student", "mlp", "--seed", "0", "--eval-seeds", "1"]
    return ["run", "--dataset", str(toy_file), "--ipc", str(ipc), *short, *more]


def test_a_run_writes_a_set_a_record_and_the_board_once(condense: Condense, toy_file: Path) -> None:
    first = condense(*subset(toy_file))
    assert first.code == 0
    assert "toy: hard-v1" in first.out and "random_subset" in first.out
    (folder,) = Path("sets").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "data.safetensors", "gallery.png", "set.json"
    }  # fmt: skip
    (record,) = Path("results").glob("*/*.json")
    assert len(json.loads(record.read_text())["entries"]) == 1
    assert "random_subset" in Path("leaderboard.md").read_text()

    before = tree(Path.cwd())
    again = condense(*subset(toy_file))
    assert again.code == 0 and "up to date: " in again.err and again.out == first.out
    assert tree(Path.cwd()) == before


def test_the_board_is_checked_against_the_records(condense: Condense, toy_file: Path) -> None:
    condense(*subset(toy_file))
    told = condense("leaderboard", "--check").out.splitlines()
    assert told[0] == "leaderboard.md is what the records in results give"
    assert told[1:] == ["stored sets whose records tell what their files hold: 1"]
    board = Path("leaderboard.md")
    board.write_text(board.read_text() + "one more line\n")
    assert "; condense leaderboard writes it" in refused(condense, "leaderboard", "--check")
    assert condense("leaderboard").code == condense("leaderboard", "--check").code == 0
    assert sorted(Path("plots").iterdir())


def test_a_run_whose_budget_is_spent_ends_with_code_3(condense: Condense, toy_file: Path) -> None:
    stopped = condense(*subset(toy_file, "--budget", "0.000001s"))
    assert stopped.code == 3 and "Traceback" not in stopped.err
    assert stopped.err.splitlines()[-1].startswith("condense: the budget of 1e-06 s is spent ")
    assert not Path("results").exists() and not Path("leaderboard.md").exists()
    assert condense(*subset(toy_file)).code == 0


def test_an_interrupt_is_one_sentence_and_code_130(
    condense: Condense, toy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("condense.runner.run.run_job", interrupted)
    ended = condense(*subset(toy_file))
    assert ended.code == 130
    *notes, last = ended.err.splitlines()
    assert last == "condense: interrupted; the same command goes on from the last checkpoint"
    assert all(line.startswith("toy: ") for line in notes)


def test_an_error_that_is_not_a_refusal_keeps_its_traceback(
    condense: Condense, toy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("condense.runner.run.run_job", broken)
    monkeypatch.setattr("sys.argv", ["condense", *subset(toy_file)])
    with pytest.raises(ZeroDivisionError):
        entry.main()


def test_a_stored_set_is_verified_shown_and_evaluated(
    stored: Path, toy_file: Path, condense: Condense
) -> None:
    told = json.loads((stored / "set.json").read_text())["provenance"]["hash"]
    assert condense("verify", stored).out == f"{stored}: {told}\n"
    shown = condense("show", stored).out
    assert "random_subset" in shown and told in shown and f"pictures: {stored / 'gallery.png'}" in shown

    done = condense("evaluate", stored, "--dataset", toy_file, "--student", "mlp", "--eval-seeds", 2)
    assert done.code == 0
    (record,) = Path("results").glob("toy/*.json")
    assert [one["seed"] for one in json.loads(record.read_text())["entries"]] == [0, 1]
    assert condense("leaderboard", "--check").code == 0


def test_distilling_alone_stores_a_set_and_makes_no_record(condense: Condense, toy_file: Path) -> None:
    ended = condense("distill", "--dataset", toy_file, "--method", "random_subset", "--seed", 3)
    assert ended.code == 0
    assert Path(ended.out.strip()).parent == Path("sets")
    assert condense("verify", ended.out.strip()).code == 0
    assert not Path("results").exists() and not Path("leaderboard.md").exists()


@pytest.mark.parametrize("name", ["whole", "majority", "no_pretraining"])
def test_a_reference_is_no_set_that_could_be_distilled(name: str, condense: Condense) -> None:
    ended = condense("distill", "--method", name)
    told = f"{name} is a reference row, for which no set is made; condense run --method {name} records it"
    assert (ended.code, ended.err) == (2, f"condense: {told}\n")


def test_a_queue_fills_what_it_can_and_names_what_it_skips(condense: Condense, toy_file: Path) -> None:
    cell = f'[[cell]]\ndataset = "{toy_file}"\nmethod = "random_subset"\nstudent = "mlp"\nseeds = [0]\n'
    Path("queue.toml").write_text(f"{cell}ipc = [1, 99, 2]\n")
    ended = condense("bench", "queue.toml", "--out", "out")
    assert ended.code == 2
    assert "skipped random_subset" in ended.err and "class '0' of toy has 20 training images" in ended.err
    assert ended.err.splitlines()[-1] == "condense: 1 of the 3 cells of queue.toml were skipped"
    assert len(list(Path("results").glob("toy/*.json"))) == len(list(Path("out").iterdir())) == 2
    assert condense("leaderboard", "--check").code == 0


def test_the_list_names_every_method_dataset_network_and_protocol(condense: Condense) -> None:
    lines = condense("list").out.splitlines()
    words = [tuple(line.split(maxsplit=1)) for line in lines]
    assert {kind for kind, _ in words} == {"method", "wrapper", "dataset", "network", "protocol"}
    for known in (("dataset", "digits"), ("network", "convnet"), ("protocol", "hard-v1")):
        assert known in words
    assert {"dm", "dc", "dsa", "herding", "k_center", "random_subset"} <= {
        text.split(":")[0] for kind, text in words if kind == "method"
    }


def test_help_names_every_command_and_is_the_default(condense: Condense) -> None:
    said = condense("--help")
    assert said.code == 0 and condense() == said
    for verb in ("run", "distill", "evaluate", "show", "verify", "list", "leaderboard", "bench"):
        assert f"  {verb} " in said.out
