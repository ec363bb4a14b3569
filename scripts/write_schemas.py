"""Writes the JSON Schemas of records, sets and catalogues to docs/schema; a test checks them."""

from pathlib import Path
from typing import Any

from condense.catalogue.form import catalogue_schema
from condense.files import canonical
from condense.records.record import record_schema
from condense.store.folder import set_schema

FOLDER = Path(__file__).parents[1] / "docs" / "schema"


def schemas() -> dict[str, str]:
    """Returns the content of each file by its name."""
    found: dict[str, dict[str, Any]] = {
        "record.json": record_schema(), "set.json": set_schema(), "catalogue.json": catalogue_schema()
    }  # fmt: skip
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {name: canonical(head | schema, indent=1) + "\n" for name, schema in found.items()}


if __name__ == "__main__":
    for name, text in schemas().items():
        (FOLDER / name).write_text(text)
