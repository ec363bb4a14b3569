"""Locks on files and folders that several processes write, and what killed processes leave behind."""

import errno
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import filelock
import pytest

from condense import files
from condense.errors import Refused, Stopped
from condense.files import locked, locked_if_free, write_atomic
from condense.resources import Budget

FORK = multiprocessing.get_context("fork")


@contextmanager
def process(task: Callable[..., object], *args: object) -> Iterator[BaseProcess]:
    """Another process that runs a task and is killed at the end of the block."""
    child = FORK.Process(target=task, args=args)
    child.start()
    try:
        yield child
    finally:
        child.kill()
        child.join()


def hold(path: Path, started: Path) -> None:
    with locked(path, what="holds it"):
        started.touch()
        time.sleep(60)


@contextmanager
def held(path: Path, tmp_path: Path) -> Iterator[BaseProcess]:
    """Another process that holds the lock on a path."""
    started = tmp_path / "started"
    with process(hold, path, started) as child:
        while not started.exists():
            time.sleep(0.005)
        yield child


def count_up(path: Path, times: int) -> None:
    for _ in range(times):
        with locked(path, what="counts"):
            write_atomic(path, str(int(path.read_text()) + 1))


def test_a_folder_that_cannot_be_made_is_refused_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("condense.files._VANISHED", 3)
    place = Path("/proc/none/here")
    if not place.parent.parent.is_dir():
        pytest.skip("this system has no /proc")
    with pytest.raises(Refused, match="cannot write /proc/none/here: No such file"), locked(place, what="is"):
        pass


def test_processes_that_count_under_a_lock_lose_no_count(tmp_path: Path) -> None:
    path = tmp_path / "count"
    path.write_text("0")
    children = [FORK.Process(target=count_up, args=(path, 25)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert path.read_text() == "100" and list(tmp_path.iterdir()) == [path]


def test_threads_keep_each_other_out(tmp_path: Path) -> None:
    inside, seen = [], []

    def work() -> None:
        with locked(tmp_path / "thing", what="works"):
            inside.append(1)
            time.sleep(0.002)
            seen.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 8


def test_who_waits_says_once_what_the_other_process_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_SAID_AFTER", 0.0)
    with held(tmp_path / "thing", tmp_path) as child:
        threading.Timer(0.2, child.kill).start()
        with locked(tmp_path / "thing", what="holds it"):
            pass
    assert capsys.readouterr().err == "waiting for another process that holds it\n"


def test_the_budget_ends_a_wait(tmp_path: Path) -> None:
    with held(tmp_path / "thing", tmp_path), pytest.raises(Stopped, match="while another process holds it"):
        with locked(tmp_path / "thing", what="holds it", budget=Budget(0.05)):
            pytest.fail("the lock is the other's")


def test_an_interrupt_ends_a_wait(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # parallel tests ignore the signal
    try:
        with held(tmp_path / "thing", tmp_path):
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            with pytest.raises(KeyboardInterrupt), locked(tmp_path / "thing", what="holds it"):
                pytest.fail("the lock is the other's")
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_lock_that_is_held_elsewhere_is_not_free(tmp_path: Path) -> None:
    with held(tmp_path / "thing", tmp_path), locked_if_free(tmp_path / "thing") as free:
        assert not free
    with locked_if_free(tmp_path / "thing") as free:
        assert free


def test_a_thread_may_take_its_own_lock_again_by_any_name(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with locked(tmp_path / "folder", what="works"), locked(tmp_path / "link", what="works"):
        assert (tmp_path / ".folder.lock").exists()
    assert not list(tmp_path.glob(".*.lock"))


def test_a_link_to_a_file_has_a_lock_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "file")
    for _ in ("missing", "there"):
        with locked(tmp_path / "link", what="writes"):
            assert (tmp_path / ".link.lock").exists() and not list((tmp_path / "far").glob(".*"))
            write_atomic(tmp_path / "far" / "file", "theirs")


def test_folders_that_were_made_for_a_lock_alone_go_with_it(tmp_path: Path) -> None:
    with locked(tmp_path / "deep" / "er" / "thing", what="works"):
        assert (tmp_path / "deep" / "er").exists()
    assert not list(tmp_path.iterdir())
    with locked(tmp_path / "deep" / "er" / "thing", what="works"):
        write_atomic(tmp_path / "deep" / "file", "")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]


def test_a_block_that_raises_gives_its_lock_free(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad"), locked(tmp_path / "thing", what="works"):
        raise ValueError("bad")
    assert not list(tmp_path.iterdir())


def half_write(path: Path, started: Path) -> None:
    with locked(path, what="writes"):
        (path.parent / f".{path.name}.abcdefgh.part").write_text("half")
        started.touch()
        time.sleep(60)


def test_the_next_holder_sweeps_what_a_killed_process_left(tmp_path: Path) -> None:
    path, started = tmp_path / "thing", tmp_path / "started"
    with process(half_write, path, started):
        while not started.exists():
            time.sleep(0.005)
        with locked_if_free(path):
            assert (tmp_path / ".thing.abcdefgh.part").exists(), "swept while its writer lived"
    with locked(path, what="works"):
        assert not (tmp_path / ".thing.abcdefgh.part").exists()
    started.unlink()
    assert not list(tmp_path.iterdir())


def test_only_leftovers_of_the_same_thing_are_swept(tmp_path: Path) -> None:
    kept = [".thing.json.abcdefgh.part", ".thing.abcdefgh", "thing.abcdefgh.part", ".other.abcdefgh.part"]
    for name in [*kept, ".thing.abcdefgh.part"]:
        (tmp_path / name).write_text("")
    (tmp_path / "thing" / "deep").mkdir(parents=True)
    (tmp_path / "thing" / "deep" / ".file.abcdefgh.part").write_text("")
    (tmp_path / "thing" / "deep" / "snapshots.part").write_text("")
    with locked(tmp_path / "thing", what="works"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "thing"}
    assert [path.name for path in (tmp_path / "thing" / "deep").iterdir()] == ["snapshots.part"]


def test_lock_files_of_killed_processes_go_with_the_next_run(tmp_path: Path) -> None:
    for name in (".thing.lock", ".thing.7.lock", ".thing.8.lock"):
        (tmp_path / name).write_text("")
    with held(tmp_path / "thing.8", tmp_path):
        files.tidy(tmp_path / "thing")
        assert {path.name for path in tmp_path.glob(".*")} == {".thing.8.lock"}
    files.tidy(tmp_path / "thing")
    assert not list(tmp_path.glob(".*"))


def test_a_folder_moved_aside_by_a_killed_process_comes_back(tmp_path: Path) -> None:
    aside = tmp_path / ".set.abcdefgh.part" / files.ASIDE
    aside.mkdir(parents=True)
    (aside / "data").write_text("all there is")
    with locked(tmp_path / "set", what="works"):
        assert (tmp_path / "set" / "data").read_text() == "all there is"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_lock_file_that_lost_its_name_locks_nothing(tmp_path: Path) -> None:
    lock, moved = tmp_path / ".thing.lock", tmp_path / "silly-renamed-by-nfs"
    waiting = files._Lock(tmp_path / "thing")
    with waiting:
        lock.touch()
        found = os.open(lock, os.O_RDWR)
        lock.rename(moved)
        with pytest.raises(files._Orphaned):
            waiting._require_named(found)
        lock.touch()
        with pytest.raises(files._Orphaned):
            waiting._require_named(found)
        os.close(found)
        assert waiting.got()


def test_without_locks_of_the_system_a_file_is_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(filelock.FileLock, "acquire", missing)
    free: list[bool] = []

    def ask() -> None:
        with files._Lock(tmp_path / "thing") as other:
            free.append(other.got() or other.got())

    with locked(tmp_path / "thing", what="works"):
        assert (tmp_path / ".thing.lock").exists()
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join()
    assert free == [False] and not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_refused_and_never_free(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    thing = tmp_path / "file" / "thing"
    with pytest.raises(Refused, match=f"cannot write {thing}: "), locked(thing, what="works"):
        pytest.fail("nothing is locked")
    with locked_if_free(thing) as free:
        assert not free
