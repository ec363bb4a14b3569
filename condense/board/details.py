"""The page of a dataset: all of its tables with all settings, students, sizes and costs."""

from collections.abc import Callable, Mapping, Sequence

from condense.board.claims import claims_text
from condense.board.datasets import DatasetResults
from condense.board.extras import Extras
from condense.board.federated import federated_part
from condense.board.format import grid, settings_text, sources_text
from condense.board.legend import FULL
from condense.board.render import heading, ranked, unranked
from condense.board.tables import Key, Row, Table

HEAD = """\
# {title}

All results on {title}, with all settings. [The front page]({front}) shows the best of each
method, on all datasets. Letters behind a method tell its settings apart. The end tells what the columns mean.
"""


def details_page(
    results: Sequence[DatasetResults],
    extras: Extras,
    plots: Mapping[Key, Sequence[str]],
    links: Mapping[str, str],
    front: str,
) -> str:
    """Returns a dataset's page as Markdown.

    Args:
        results: The results on the data of that name; more than one if there are several such data.
        extras: The columns that take more than a table's own results.
        plots: The paths of the plots of tables, from this page.
        links: Links to what is stored of sets, by their hashes.
        front: The path of the front page.
    """
    parts = [HEAD.format(title=results[0].data[0], front=front)]
    for one in results:
        _, train, test = one.data
        parts.append(f"## {one.title}\n\nData: train {train[:8]}, test {test[:8]}.\n")
        parts += filter(None, [claims_text(one)])
        page = _Page(one, extras, plots, links)
        parts += [page.section(table) for table in one.tables if table.key not in one.older]
        if one.published:
            parts.append(page.published())
        if folded := [page.section(table) for table in one.tables if table.key in one.older]:
            names = {key.protocol: newest for key, newest in one.older.items()}
            told = ", ".join(f"{old} (now {new})" for old, new in names.items())
            summary = f"<summary>Under older versions of the protocols: {told}</summary>"
            parts += [f"<details>\n{summary}\n", *folded, "</details>\n"]
        parts += filter(None, [federated_part(one.federated)])
    legend = f"<details>\n<summary>How to read these tables</summary>\n\n{FULL}\n</details>\n"
    return "\n".join([*parts, legend])


class _Page:
    """The sections of the results on one dataset."""

    def __init__(
        self,
        one: DatasetResults,
        extras: Extras,
        plots: Mapping[Key, Sequence[str]],
        links: Mapping[str, str],
    ) -> None:
        self.one, self.extras, self.plots, self.links = one, extras, plots, links

    def section(self, table: Table) -> str:
        """Returns a table with its title and what stands below it."""
        newest = self.one.older.get(table.key)
        title = f"### {heading(table)}{f'; older version of {newest}' if newest else ''}"
        sources: list[str] = []
        text = grid(*ranked(table, self.extras, sources, self._label)) + sources_text(sources)
        if files := self.plots.get(table.key):
            pictures = ", ".join(f"[{file.rpartition('/')[2]}]({file})" for file in files)
            text += f"\nPlots: {pictures}.\n"
        return f"{title}\n\n{text}{self._settings(table.rows)}"

    def published(self) -> str:
        """Returns the rows under published protocols."""
        sources: list[str] = []
        text = grid(*unranked(self.one.published, sources, self._label)) + sources_text(sources)
        text += self._settings([row for _, row in self.one.published])
        return f"### published: each under its own paper's protocol\n\n{text}"

    def _settings(self, rows: Sequence[Row]) -> str:
        text = settings_text(rows, self.one.names, self.links).partition("Settings:\n\n")[2]
        return f"\n<details>\n<summary>Settings, seeds and sets</summary>\n\n{text}\n</details>\n"

    @property
    def _label(self) -> Callable[[Row], str]:
        def label(row: Row) -> str:
            anchor, name = self.one.anchors.get(row), self.one.names.get(row, row.name)
            return f'<a id="{anchor}"></a>{name}' if anchor else name

        return label
