"""The page as one HTML text that asks for nothing from anywhere but the pictures beside it."""

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from importlib import resources
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from condense.board.web.vega import LICENCES
from condense.errors import Refused
from condense.files import canonical

TEMPLATE, STYLE, TABLE, PLOTS = "page.html", "page.css", "table.js", "plots.js"
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
"""What JSON in a page writes in place of characters that HTML or a script could take for its own."""


def page_text(values: Mapping[str, Any], script: str) -> str:
    """Returns the page.

    Args:
        values: What `condense.board.web.rows.page_values` returns.
        script: The script that defines ``vegaEmbed``.

    Raises:
        Refused: if the script would end the element that it stands in.
    """
    table, plots = _file(TABLE), _file(PLOTS)
    for one in (table, script, plots):
        if "</script" in one.lower() or "<!--" in one:
            raise Refused("the script of the plots cannot stand in a page: it holds </script or <!--")
    template = Environment(
        loader=DictLoader({TEMPLATE: _file(TEMPLATE)}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    ).get_template(TEMPLATE)
    rows = values["rows"]
    return template.render(
        style=Markup(_file(STYLE)),
        values=Markup(json_in_html(values)),
        table=Markup(table),
        vega=Markup(script),
        plots=Markup(plots),
        licences=_file(LICENCES),
        scripts=" ".join(_source(one) for one in (table, script, plots)),
        count=len(rows),
        networks=sum(row["students"] for row in rows),
        datasets=len({row["dataset"] for row in rows}),
    )


def json_in_html(values: object) -> str:
    """Returns JSON that can stand in a script element, whatever texts it holds."""
    text = canonical(values)
    for character, escape in ESCAPES.items():
        text = text.replace(character, escape)
    return text


def _source(script: str) -> str:
    """Returns how a content security policy allows one script alone, by its hash."""
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
