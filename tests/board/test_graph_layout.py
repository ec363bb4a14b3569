"""Tables of graphs: one for each dataset and protocol, with a column for each student network."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from condense.board.datasets import gathered
from condense.board.legend import FULL
from condense.board.plots import draw_plots
from condense.board.render import table_for
from condense.board.tables import gather
from condense.distillation.matching.protocols import dc_evaluation
from condense.protocols import GRAPH_SELECT_V2, GRAPH_WHOLE_V2, REFERENCE_V1
from condense.records.frame import frame
from condense.records.record import Paper, Record
from tests.board import markdown
from tests.board.markdown import page

Make = Callable[..., Record]


def reference(graphs: Make, name: str, aucs: Sequence[float], **given: Any) -> Record:
    plain = {"kind": "reference", "ipc": 0, "protocol": REFERENCE_V1, "student": "none"}
    return graphs(name, aucs, **(plain | given))


def rows(text: str) -> dict[str, list[str]]:
    """The cells of a rendered table by method and IPC."""
    return markdown.rows(text, names=2)


def test_a_row_is_a_method_at_an_ipc_and_a_column_a_student(graphs: Make) -> None:
    records = [
        graphs(student="gin-mean", aucs=(50.0, 54.0)),
        graphs(student="gcn-sum"),
        graphs(ipc=10, aucs=(90.0,)),
    ]
    (table,) = gather(frame(records))
    assert table.columns == ("gcn-sum", "gin-mean") and table.ipcs == (1, 10)
    found = rows(page(frame(records)))
    assert found["method IPC"][:2] == ["gcn-sum", "gin-mean"]
    # t(0.975; 1) = 12.706, s = sqrt(2), over sqrt(2): 12.7; and twice that
    assert found["mirage 1"][:2] == ["71.0 ± 12.7 / 61.0", "52.0 ± 25.4 / 42.0"]
    assert found["mirage 10"][:2] == ["90.0 (n=1) / 80.0", "-"]
    assert found["mirage 1"][2:6] == ["1 x 2", "10", "300 B + 4 B", "2 kB"]
    assert found["mirage 10"][2:6] == ["1 x 1", "100", "3 kB + 4 B", "20 kB"]


def test_the_page_explains_the_columns_of_graphs() -> None:
    told = FULL.split("- Graphs have ")[1].split("\n- ")[0]
    for word in ("ROC-AUC", "accuracy", "dense bytes", "num_nodes", "label_histogram"):
        assert word in told
    assert told.count("\n") < 7


def test_the_interval_of_random_graphs_is_over_sets(graphs: Make) -> None:
    draws = [
        graphs("random_subset", seed=seed, aucs=(60.0 + seed,), student=student)
        for seed in range(3)
        for student in ("gcn-sum", "gat-sum")
    ]
    found = rows(page(frame(draws)))
    assert found["*random_subset* 1"][:3] == ["61.0 ± 2.5 / 51.0"] * 2 + ["3 x 1"]


def test_baselines_and_references_have_rows_without_being_run(graphs: Make) -> None:
    found = rows(page(frame([graphs(), graphs(ipc=10)])))
    names = list(found)[2:]
    assert names == [
        *(
            f"{name} {ipc}"
            for ipc in (1, 10)
            for name in ("mirage", "*random_subset*", "*herding*", "*k_center*")
        ),
        *(f"{name} -" for name in ("majority", "num_nodes", "num_edges", "label_histogram")),
        "whole training set -",
    ]
    assert set(found["*herding* 1"]) == set(found["num_nodes -"]) == {"-"}


def test_references_join_every_protocol_and_column_that_they_fit(graphs: Make) -> None:
    records = [
        graphs(), graphs(student="gin-sum"), graphs(protocol=GRAPH_SELECT_V2),
        reference(graphs, "num_nodes", (95.5,)),
        reference(graphs, "whole", (88.0,), protocol=GRAPH_WHOLE_V2, student="gin-sum"),
    ]  # fmt: skip
    first, second = sorted(gather(frame(records)), key=lambda table: table.key.protocol == "graph-v2")
    for table in (first, second):
        assert [row.method for row in table.rows if row.reference] == ["num_nodes", "whole"]
    text = table_for(frame(records), "mutag", "graph-v2", "gcn-sum", "multi-hot")
    assert rows(text)["num_nodes -"][:3] == ["95.5 (n=1) / 85.5"] * 2 + ["- x 1"]
    assert rows(text)["whole training set -"][:2] == ["-", "88.0 (n=1) / 78.0"]
    assert "ROC-AUC" in text and "graph-select" not in text


def test_references_without_sets_have_tables_of_their_own(graphs: Make) -> None:
    records = [
        reference(graphs, "num_nodes", (95.5,)),
        reference(graphs, "whole", (88.0,), protocol=GRAPH_WHOLE_V2, student="gin-sum"),
    ]
    assert [table.key.protocol for table in gather(frame(records))] == ["graph-whole-v2", "reference-v1"]
    assert "95.5 (n=1)" in page(frame(records)) and "88.0 (n=1)" in page(frame(records))


def test_graphs_and_images_never_share_a_table(graphs: Make, made: Make, tmp_path: Path) -> None:
    records = [graphs(), made()]
    assert [table.key.dataset for table in gather(frame(records))] == ["digits", "mutag"]
    text = page(frame(records))
    assert text.index("## digits") < text.index("## mutag") and text.count("\n### ") == 2
    shuffled = list(records)
    Random(1).shuffle(shuffled)
    assert page(frame(shuffled)) == text


def test_a_published_number_stands_in_the_column_of_its_student(graphs: Make) -> None:
    paper = Paper(value=68.2, error=None, source="A table", verified=False, protocol="its own")
    found = rows(page(frame([graphs(paper=paper), graphs(student="gat-sum")])))
    assert found["method IPC"][:2] == ["gcn-sum [paper]", "gat-sum [paper]"]
    assert found["mirage 1"][:2] == ["71.0 ± 12.7 / 61.0 [68.2†]", "71.0 ± 12.7 / 61.0"]
    assert found["mirage 1"][-1] == "1"


def test_the_accuracy_is_the_score_without_an_auc(graphs: Make) -> None:
    record = graphs()
    plain = replace(record, entries=tuple(replace(entry, auc=None) for entry in record.entries))
    assert rows(page(frame([plain])))["mirage 1"][0] == "61.0 ± 12.7"


def test_validation_graphs_count_among_the_bytes(graphs: Make) -> None:
    record = replace(graphs(protocol=GRAPH_SELECT_V2), valid_bytes=1234)
    assert "300 B + 4 B + 1.2 kB validation" in rows(page(frame([record])))["mirage 1"]


def test_rows_are_ranked_by_the_columns_that_all_have(graphs: Make) -> None:
    records = [
        graphs("doscond", (80.0,)), graphs("mirage", (90.0,)), graphs("mirage", (50.0,), student="gin-mean"),
        graphs("doscond", (60.0,), student="gin-mean", ipc=10), graphs("mirage", (70.0,), ipc=10),
    ]  # fmt: skip
    (table,) = gather(frame(records))
    # By gcn-sum alone at IPC 1; at IPC 10 no column is that of both, and each has its own.
    assert [(row.ipc, row.method) for row in table.rows] == [
        (1, "mirage"), (1, "doscond"), (10, "mirage"), (10, "doscond"),
    ]  # fmt: skip


def test_settings_at_one_ipc_have_rows_whichever_students_they_have(graphs: Make) -> None:
    records = [
        graphs("herding", config={"network": network}, student=student)
        for network, student in (("a", "gcn-sum"), ("b", "gcn-sum"), ("a", "gin-sum"))
    ]
    (table,) = gather(frame(records))
    assert {row.name: sorted(row.cells) for row in table.rows} == {
        "herding (network=a)": ["gcn-sum", "gin-sum"], "herding (network=b)": ["gcn-sum"],
    }  # fmt: skip
    assert "- herding (b), IPC 1, seed 0: `version=1 network=b`" in page(frame(records))


def test_sets_that_fill_a_number_of_bytes_stand_apart_by_bytes(graphs: Make) -> None:
    records = [graphs("herding", config={"room": room}) for room in (0, 300, 2000)]
    plain, filled = gather(frame(records))
    assert [(row.name, row.ipc) for row in plain.rows] == [("herding", 1)]
    assert [(row.name, row.ipc) for row in filled.rows] == [("herding", 300), ("herding", 2000)]
    assert filled.key.title.endswith(", sets that fill a number of bytes")
    _, text = page(frame(records)).split("sets that fill a number of bytes")
    assert list(rows(text))[2:4] == ["*herding* 300", "*herding* 2000"]
    assert "- herding, bytes 300, seed 0: `version=1 room=300`" in text


def test_a_published_protocol_has_a_table_of_its_own_with_the_auc(graphs: Make) -> None:
    own = dc_evaluation(300, augment="none")
    text = page(frame([graphs(protocol=own)]))
    assert "### published" in text and "71.0 ± 12.7" in text and not gather(frame([graphs(protocol=own)]))


def test_a_table_of_graphs_has_two_plots(graphs: Make, tmp_path: Path) -> None:
    records = [
        graphs(), graphs(ipc=10, student="gin-sum"), reference(graphs, "num_nodes", (95.5,)),
        *(graphs("random_subset", seed=seed, aucs=(60.0 + seed,)) for seed in range(3)),
    ]  # fmt: skip
    paths = draw_plots(gathered(frame(records)), tmp_path)
    assert [path.name for path in paths] == [
        "mutag-graph-v2-multi-hot-ipc.svg", "mutag-graph-v2-multi-hot-bytes.svg"
    ]  # fmt: skip
    first = paths[0].read_bytes()
    assert draw_plots(gathered(frame(records[::-1])), tmp_path) == paths and paths[0].read_bytes() == first


def correlated(record: Record, *values: float | None) -> Record:
    entries = zip(record.entries, values, strict=True)
    return replace(record, entries=tuple(replace(one, size_correlation=value) for one, value in entries))


def test_a_row_shows_for_each_pooling_how_far_scores_follow_the_size(graphs: Make) -> None:
    records = [
        correlated(graphs(student="gcn-sum"), -0.5, -1.0),
        correlated(graphs(student="gin-sum"), -0.25, -0.25),
        correlated(graphs(student="gat-mean"), 0.1, None),
        correlated(reference(graphs, "num_nodes", (95.5,)), 1.0),
        reference(graphs, "majority", (50.0,)),
        correlated(graphs("random_subset", student="gat-mean"), 0.5, 0.25),
    ]
    found = rows(page(frame(records)))
    place = found["method IPC"].index("size ρ, sum / mean")
    shown = {name: cells[place] for name, cells in found.items()}
    assert (shown["mirage 1"], shown["*random_subset* 1"]) == ("-0.50 / 0.10", "- / 0.38")
    assert (shown["num_nodes -"], shown["majority -"]) == ("1.00", "-")
    assert shown["num_edges -"] == "- / -"


def test_a_table_without_any_correlation_has_no_column_for_it(graphs: Make) -> None:
    assert not [name for name in rows(page(frame([graphs()])))["method IPC"] if name.startswith("size")]
