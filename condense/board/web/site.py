"""Writes the page of a board, and the pictures of the stored sets beside it."""

from collections.abc import Collection
from pathlib import Path

from condense.board.catalogue import stored_folders
from condense.board.web.page import page_text
from condense.board.web.rows import page_values
from condense.board.web.vega import require_vega, vega_script
from condense.errors import Refused
from condense.files import write_atomic
from condense.records.folder import read_records
from condense.store.manifest import GALLERY

PAGE, PICTURES = "index.html", "sets"
"""The page, and the folder of its pictures."""


def write_site(results: Path, site: Path, selecting: Collection[str]) -> Path:
    """Writes the page of all records into a folder, which is made if it is not there.

    Args:
        results: The results folder; sets that are stored in it have their pictures in the page.
        site: The folder of the page. Other files in it are left alone.
        selecting: Names of the methods that choose real samples.

    Returns:
        The path of the page.

    Raises:
        Refused: if the folder is a file, a record cannot be read, or the extra that draws plots is missing.
    """
    if site.exists() and not site.is_dir():
        raise Refused(f"{site} is a file; the page is written into a folder", setting="html", value=site)
    require_vega()
    records = read_records(results)
    drawn = {
        content: results / "sets" / folder / GALLERY
        for content, folder in stored_folders(results / "sets").items()
    }
    known = {record.set.hash for record in records if record.set is not None}
    drawn = {content: file for content, file in drawn.items() if content in known and file.is_file()}
    pictures = {content: f"{PICTURES}/{content[:16]}.png" for content in drawn}
    values = page_values(records, folder=results.name, selecting=selecting, pictures=pictures)
    text = page_text(values, vega_script())
    for content, file in drawn.items():
        write_atomic(site / pictures[content], file.read_bytes())
    write_atomic(site / PAGE, text)
    return site / PAGE
