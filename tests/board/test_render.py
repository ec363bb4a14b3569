"""The Markdown: what a reader sees, and that it is what the records give."""

import re
from collections.abc import Callable
from dataclasses import replace

from condense.board.render import table_for
from condense.distillation.matching.protocols import dc_evaluation
from condense.protocols import HARD_V1, REPLAY_V1, SOFT_V1, SOFT_V2, WHOLE_V1
from condense.records.frame import frame
from condense.records.record import Paper, Record
from tests.board.markdown import page, rows

Make = Callable[..., Record]

OLDER = "Under older versions of the protocols:"

READ = Paper(value=88.25, error=0.2, source="A table", verified=True, protocol="its own")
RECALLED = Paper(value=89.7, error=0.6, source="B paper, from memory", verified=False, protocol="its own")


def test_a_cell_holds_mean_interval_and_published_number(made: Make) -> None:
    one = made(ipc=1, accuracies=(87.0, 88.0, 89.0), paper=RECALLED)
    ten = made(ipc=10, accuracies=(95.04,), paper=READ)
    found = rows(page(frame([one, ten])))
    assert found["method"][:3] == ["label", "IPC 1 [paper]", "IPC 10 [paper]"]
    assert found["dm"][:3] == ["hard", "88.0 ± 2.5 [89.7†]", "95.0 (n=1) [88.2]"]
    assert found["dm"][3:5] == ["1 x 3 / 1 x 1", "10 / 100"]
    assert found["dm"][5:] == ["0.64/6.4 kB + 10/100 B", "2 / 20", "100", "1, 2"]
    text = page(frame([one, ten]))
    assert "\n1. B paper, from memory (its own; not verified)\n2. A table (its own)\n" in text


def test_baselines_and_the_whole_set_have_rows_without_being_run(made: Make) -> None:
    found = rows(page(frame([made()])))
    assert list(found)[-4:] == ["*random_subset*", "*herding*", "*k_center*", "whole training set"]
    assert set(found["*herding*"]) == {"-"}


def test_the_whole_set_has_its_score_in_every_ipc_column(made: Make) -> None:
    whole = made("whole", ipc=0, accuracies=(99.0,), protocol=WHOLE_V1, kind="reference")
    found = rows(page(frame([made(ipc=1), made(ipc=10), whole])))
    assert found["whole training set"][1:4] == ["99.0 (n=1)", "99.0 (n=1)", "- x 1"]


def test_images_are_counted_as_stored_and_as_decoded(made: Make) -> None:
    whole = made("whole", ipc=0, accuracies=(99.0,), protocol=WHOLE_V1, kind="reference")
    records = [
        made(ipc=1),
        made(ipc=10),
        made("idc", ipc=1, copies=4),
        made("idc", ipc=10, copies=4),
        made("mixed", ipc=1),
        made("mixed", ipc=1, seed=1, copies=9),
        whole,
    ]
    found = rows(page(frame(records)))
    column = found["method"].index("images")
    assert found["dm"][column] == "10 / 100"
    assert found["idc"][column] == "10->40 / 100->400"
    assert found["mixed"][column] == "10 or 10->90 / -"
    assert found["whole training set"][column] == found["*herding*"][column] == "-"
    assert found["idc"][column + 1] == found["dm"][column + 1] == "0.64/6.4 kB + 10/100 B"
    text = table_for(frame(records), "digits", "hard-v1", "convnet", "normalized")
    assert rows(text)["idc"][column] == "10->40 / 100->400" and "stored->decoded" in text


def test_the_published_table_counts_images_too(made: Make) -> None:
    own = dc_evaluation(300, augment="none")
    found = rows(page(frame([made(protocol=own), made("idc", ipc=10, protocol=own, copies=4)])))
    column = found["method"].index("images")
    assert [found[name][column] for name in ("dm", "idc")] == ["10", "100->400"]


def test_published_rows_are_neither_ranked_nor_beside_baselines(made: Make) -> None:
    own = dc_evaluation(300, augment="none")
    records = [
        made("zz", accuracies=(99.0,), protocol=own, paper=READ),
        made("aa", accuracies=(10.0,), protocol=own),
    ]
    text = page(frame(records))
    assert "### published: each under its own paper's protocol" in text
    assert "random_subset*" not in text.split("## digits")[1]
    found = rows(text)
    assert list(found) == ["method", "---" + "-" * 3, "aa", "zz"]
    assert found["zz"][4:7] == ["99.0 (n=1)", "88.2 ± 0.2", "+10.8"]
    assert own.hash[:8] in found["zz"]


def test_protocols_of_one_name_with_two_hashes_have_two_tables(made: Make) -> None:
    changed = replace(HARD_V1, lr=0.02)
    text = page(frame([made(), made(protocol=changed)]))
    assert {HARD_V1.hash[:8], changed.hash[:8]} == set(re.findall(r"### hard-v1 \((\w{8})\)", text))


def test_a_title_describes_the_teacher_and_rows_name_their_label_kind(
    made: Make,
) -> None:
    taught = {"protocol": SOFT_V1, "teacher": "abcdef0123" * 6, "teacher_bytes": 51234}
    records = [
        made(**taught, teacher_accuracy=91.25),
        made("dm+fkd", **taught, teacher_accuracy=91.25, label="replayed", replay=7_500_000),
        made("whole", ipc=0, kind="reference", protocol=WHOLE_V1),
    ]
    text = page(frame(records))
    heading = f"soft-v1 ({SOFT_V1.hash[:8]}), convnet, normalized pixels, teacher abcdef01"
    told = f"{heading} (51.2 kB, 91.2 % on held-out training images)"
    assert f"\n### {told}\n" in text and "teacher" not in heading_of(page(frame([made()])))
    assert f"digits: {told}\n" in table_for(frame(records), "digits", "soft-v1", "convnet", "normalized")
    found = rows(text)
    label, size = found["method"].index("label"), found["method"].index("bytes")
    assert [found[name][label] for name in ("dm", "dm+fkd")] == ["hard", "replayed"]
    assert found["dm"][size] == "640 B + 10 B" and found["dm+fkd"][size] == "640 B + 10 B + 7.5 MB replay"
    unknown = made(protocol=SOFT_V1, teacher="abcdef0123" * 6)
    assert "teacher abcdef01 (unknown size, accuracy unknown)" in heading_of(page(frame([unknown])))


def test_under_stored_labels_baselines_are_subsets_with_labels(made: Make) -> None:
    taught = {"protocol": REPLAY_V1, "teacher": "abcdef0123" * 6, "label": "replayed"}
    text = page(frame([made(name, **taught) for name in ("dm+fkd", "random_subset+fkd")]))
    found = rows(text)
    assert {"dm+fkd", "*random_subset+fkd*", "*herding with stored labels*"} <= set(found)
    assert not any(name.startswith("*random_subset ") for name in found)
    assert heading_of(text).endswith(", teacher abcdef01")
    other = made("dc+fkd", **{**taught, "teacher": "0" * 60})
    assert page(frame([made("dm+fkd", **taught), other])).count("### replay-v1") == 2


def test_tables_under_older_versions_are_folded_once_there_is_a_newer_one(made: Make) -> None:
    taught = {"teacher": "abcdef0123" * 6}
    old = [made("rded", protocol=SOFT_V1, **taught), made("dm", dataset="mnist", protocol=SOFT_V1, **taught)]
    assert OLDER not in page(frame(old)) and "older version of" not in page(frame(old))
    new = made("dsa", protocol=SOFT_V2, **taught)
    own = made("idc", protocol=dc_evaluation(300, augment="none"))
    text = page(frame([*old, new, own, made("dc"), made("dm+fkd", protocol=REPLAY_V1, **taught)]))
    mnist, digits = text.split("## mnist\n")[1].split("## digits\n")
    shown, folded = digits.split(f"<details>\n<summary>{OLDER}")
    # What is not run again stays where it was, and no row is lost.
    assert "### soft-v1" in mnist and OLDER not in mnist
    for name in ("| dsa ", "| idc ", "| dc ", "| dm+fkd ", "### soft-v2", "### replay-v1", "### hard-v1"):
        assert name in shown and name not in folded
    assert "| rded " in folded and "### soft-v1" in folded and "### soft-v1" not in shown
    lines = folded.splitlines()
    assert lines[0] == " soft-v1 (now soft-v2)</summary>"
    assert lines[1] == "" and lines[2].endswith("; older version of soft-v2")


def test_the_terminal_says_that_a_protocol_has_a_newer_version(made: Make) -> None:
    taught = {"teacher": "abcdef0123" * 6}
    for protocol, told in ((SOFT_V1, True), (SOFT_V2, False)):
        text = table_for(
            frame([made(protocol=protocol, **taught)]), "digits", protocol.name, "convnet", "normalized"
        )
        assert text.endswith("soft-v1 is an older version of soft-v2\n") == told


def heading_of(text: str) -> str:
    """The title of the first table."""
    return next(line for line in text.splitlines() if line.startswith("### "))


def test_a_published_row_names_the_teacher_that_labelled_it(
    made: Make,
) -> None:
    own = replace(SOFT_V1, name="published", labels="own")
    taught = made(protocol=own, teacher="abcdef0123" * 6, teacher_bytes=640_000, teacher_accuracy=78.5)
    text = page(frame([taught, made("dc", protocol=dc_evaluation(300, augment="none"))]))
    found = rows(text)
    label = found["method"].index("label")
    assert found["dm"][label] == "teacher abcdef01" and found["dc"][label] == "hard"
    (line,) = (line for line in text.splitlines() if line.startswith("- dm,"))
    assert line.endswith("; labelled by abcdef01 (640 kB, 78.5 % on held-out training images)")
    assert "labelled by" not in page(frame([replace(taught, protocol=SOFT_V1)]))


def test_settings_stand_below_a_table(made: Make) -> None:
    text = page(frame([made(seed=seed, config={"steps": 5, "name": "x"}) for seed in (0, 1, 2, 4)]))
    assert "\n- dm, IPC 1, seed 0-2, 4: `version=1 name=x steps=5`; distilled on cpu\n" in text


def test_undone_steps_are_listed_with_the_seeds_that_had_them(made: Make) -> None:
    records = []
    for seed, count in enumerate((None, 0, 1, 3, 3)):
        record = made(seed=seed)
        assert record.set is not None
        records.append(replace(record, set=replace(record.set, rollbacks=count)))
    text = page(frame(records))
    told = {line.split(":")[0]: line for line in text.splitlines() if line.startswith("- dm,")}
    assert list(told) == ["- dm, IPC 1, seed 0-1", "- dm, IPC 1, seed 2", "- dm, IPC 1, seed 3-4"]
    assert [line.rpartition("; ")[2] for line in told.values()] == [
        "distilled on cpu",
        "1 step undone",
        "3 steps undone",
    ]


def test_a_bar_in_a_name_does_not_break_the_table(made: Make) -> None:
    records = [made(config={"a": "x|y"}), made(config={"a": "z"})]
    assert r"dm (a=x\|y)" in rows(table_for(frame(records), "digits", "hard-v1", "convnet", "normalized"))


def test_bytes_other_than_images_and_labels_are_named(made: Make) -> None:
    record = made()
    assert record.set is not None
    heavy = replace(
        record, set=replace(record.set, bytes={"images": 640, "labels": 10, "replay": 22_400_000})
    )
    assert "640 B + 10 B + 22.4 MB replay" in rows(page(frame([heavy])))["dm"]


def test_the_terminal_shows_the_rows_of_the_board(made: Make) -> None:
    records = [made(), made("herding"), made(dataset="mnist"), made(student="vgg11")]
    text = table_for(frame(records), "digits", "hard-v1", "convnet", "normalized")
    assert rows(text)["dm"] == rows(page(frame(records[:2])))["dm"]
    assert "mnist" not in text and "vgg11" not in text
    assert table_for(frame([]), "digits", "hard-v1", "convnet", "normalized").startswith(
        "no records of digits"
    )


def test_the_terminal_shows_published_rows(made: Make) -> None:
    record = made(protocol=dc_evaluation(300, augment="none"), paper=READ)
    assert "88.2 ± 0.2" in table_for(frame([record]), "digits", "published", "convnet", "normalized")
