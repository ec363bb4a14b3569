"""The summary of the results on graphs, and its place between two marks in a page."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from condense.board.summary import BEGIN, END, inserted, summary
from condense.board.tables import gather
from condense.errors import Refused
from condense.protocols import GRAPH_SELECT_V2, GRAPH_WHOLE_V2, REFERENCE_V1
from condense.records.frame import frame
from condense.records.record import Record

Make = Callable[..., Record]


def reference(graphs: Make, name: str, auc: float, **given: object) -> Record:
    plain = {"kind": "reference", "ipc": 0, "protocol": REFERENCE_V1, "student": "none"}
    return graphs(name, (auc,), **(plain | given))


def test_the_summary_is_empty_without_mirage_or_the_node_count(graphs: Make) -> None:
    count = reference(graphs, "num_nodes", 60.0)
    assert (
        summary(gather(frame([count])))
        == summary(gather(frame([graphs()])))
        == summary(gather(frame([])))
        == ""
    )
    assert summary(gather(frame([count, graphs(protocol=GRAPH_SELECT_V2)]))) == ""
    assert summary(gather(frame([count, graphs()]))) != ""


def test_a_cell_is_above_the_count_if_its_spread_allows(graphs: Make) -> None:
    records = [
        reference(graphs, "num_nodes", 60.0),
        graphs(student="gcn-sum", aucs=(70.0, 70.4) * 5),  # far above, hardly spread
        graphs(student="gat-sum", aucs=(50.0, 73.0) * 5),  # above, widely spread
        graphs(student="gin-sum", aucs=(50.0, 50.4) * 5),
        graphs(student="gin-mean", aucs=(61.0,) * 10),
        graphs(student="gat-mean", aucs=(99.0, 99.4) * 2),  # students are missing
    ]
    told = summary(gather(frame(records)))
    assert "- Sum pooling: Mirage is above the node count in 1 and below in 1 of 3 cells" in told
    assert "- Mean pooling: Mirage is above the node count in 1 and below in 0 of 1 cells" in told
    assert "Results on 1 graph datasets" in told and "no random graphs" in told


def test_settings_with_equal_graphs_count_once(graphs: Make) -> None:
    def mine(exclusive: bool, *aucs: float, student: str = "gcn-sum") -> Record:
        return graphs(aucs=aucs * 5, student=student, config={"exclusive": exclusive})

    equal = [mine(exclusive, 70.0, 70.4) for exclusive in (False, True)]
    records = [reference(graphs, "num_nodes", 60.0), *equal]
    assert "above the node count in 1 and below in 0 of 1 cells" in summary(gather(frame(records)))
    records += [mine(False, 70.0, 70.4, student="gin-sum"), mine(True, 50.0, 50.2, student="gin-sum")]
    assert "above the node count in 2 and below in 1 of 3 cells" in summary(gather(frame(records)))


def test_random_graphs_of_equal_number_not_bytes_are_compared(graphs: Make) -> None:
    def drawn(seed: int, auc: float, room: int) -> Record:
        return graphs("random_subset", (auc,), seed=seed, config={"room": room})

    few = [drawn(seed, 50.0 + seed % 3, 0) for seed in range(10)]
    many = [drawn(seed, 90.0 + seed, 300) for seed in range(10)]
    records = [reference(graphs, "num_nodes", 60.0), graphs(aucs=(70.0, 70.0) * 5), *many]
    assert "no random graphs" in summary(gather(frame(records)))
    told = summary(gather(frame([*records, *few])))
    assert "above equally many random graphs in 1 and below in 0 of 1 cells." in told
    assert "| mutag   | 1   | 60.0       | 70.0        | 50.9" in told


def test_the_table_compares_ten_or_the_largest_ipc_with_the_whole_set(graphs: Make) -> None:
    records = [
        reference(graphs, "num_nodes", 60.0),
        graphs(student="gcn-sum", aucs=(70.0,)),
        graphs(student="gcn-sum", aucs=(80.0,), ipc=10),
        graphs(student="gin-sum", aucs=(90.0,), ipc=10),
        reference(graphs, "whole", 95.0, protocol=GRAPH_WHOLE_V2, student="gcn-sum"),
        graphs(student="gin-mean", aucs=(60.0,), ipc=10),
    ]
    # Of the sum networks the whole set has one: the others' means are of that one too.
    assert lines(summary(gather(frame(records)))) == [
        ["mutag", "10", "60.0", "80.0", "-", "95.0", "60.0", "-", "-"]
    ]
    assert lines(summary(gather(frame(records[:4]))))[0][3] == "85.0"
    larger = [*records, graphs(student="gcn-sum", aucs=(99.0,), ipc=28)]
    assert lines(summary(gather(frame(larger)))) == lines(summary(gather(frame(records))))
    few = [records[0], records[1], graphs(student="gcn-sum", aucs=(88.0,), ipc=5)]
    assert lines(summary(gather(frame(few))))[0][1:4] == ["5", "60.0", "88.0"]


def lines(told: str) -> list[list[str]]:
    """The rows of the summary's table."""
    found = [line for line in told.splitlines() if line.startswith("| mutag")]
    return [[text.strip() for text in line.split("|")[1:-1]] for line in found]


def test_each_setting_has_a_line(graphs: Make) -> None:
    records = [reference(graphs, "num_nodes", 60.0)]
    records += [graphs(aucs=(auc,), config={"hops": hops}) for hops, auc in ((1, 70.0), (2, 80.0), (3, 75.0))]
    assert [(line[0], line[3]) for line in lines(summary(gather(frame(records))))] == [
        ("mutag (hops=1)", "70.0"), ("mutag (hops=2)", "80.0"), ("mutag (hops=3)", "75.0"),
    ]  # fmt: skip


def test_data_scored_by_accuracy_are_left_out(graphs: Make) -> None:
    records = [reference(graphs, "num_nodes", 60.0), graphs()]
    plain = [
        replace(record, entries=tuple(replace(entry, auc=None) for entry in record.entries))
        for record in records
    ]
    assert summary(gather(frame(records))) and not summary(gather(frame(plain)))


def test_the_summary_does_not_depend_on_the_order_of_the_records(graphs: Make) -> None:
    records = [reference(graphs, "num_nodes", 60.0), graphs(), replace(graphs(), student="gin-mean")]
    assert summary(gather(frame(records))) == summary(gather(frame(records[::-1])))


def test_a_page_gets_the_summary_between_its_marks_if_it_has_them() -> None:
    page = f"# Title\n\n{BEGIN}\nold\n{END}\nmore\n"
    told = inserted(page, "new", "README.md")
    assert told == f"# Title\n\n{BEGIN}\n\nnew\n{END}\nmore\n"
    assert inserted(told, "new", "README.md") == told
    assert inserted("# Title\n", "new", "README.md") == "# Title\n"


@pytest.mark.parametrize("page", [f"{BEGIN}\n", f"{END}\n", f"{END}\n{BEGIN}\n"])
def test_a_page_without_both_marks_in_order_is_refused(page: str) -> None:
    with pytest.raises(Refused, match=r"README\.md needs both marks"):
        inserted(page, "new", "README.md")
