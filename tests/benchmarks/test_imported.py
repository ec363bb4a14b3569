"""The page of imported sets says what the records say."""

from statistics import fmean

from condense.benchmarks import imported


def test_the_page_is_that_of_the_records() -> None:
    records = imported.recorded()
    assert imported.PAGE.read_text() == imported.page(records)
    mine = [record for record in records if record.method.name.startswith("imported-")]
    assert [record for _, record, _ in imported.rows(records)] and len(list(imported.rows(records))) == len(
        mine
    )


def test_a_difference_is_that_of_the_mean_from_the_stated_figure() -> None:
    records = imported.recorded()
    compared = [(stated, record) for stated, record, alike in imported.rows(records) if alike]
    assert compared
    lines = imported.page(records).splitlines()
    for stated, record in compared:
        apart = fmean(entry.accuracy for entry in record.entries) - stated.value
        assert any(line.startswith(f"| {stated.what} ") and f"| {apart:+.1f} |" in line for line in lines)
