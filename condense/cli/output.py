"""What commands write for other programs: one JSON document, and nothing else, on standard output."""

import json
from typing import Annotated, Any

import typer

AsJson = Annotated[
    bool, typer.Option("--json", help="Write one JSON document and nothing else: see docs/json.md.")
]


def write_json(value: Any) -> None:
    """Writes a value as JSON with two blanks of indentation; NaN is no JSON, and is refused as an error."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
