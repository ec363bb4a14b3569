"""The script that draws the plots of the page: Vega-Lite, as a Python package carries it."""

from importlib.util import find_spec

from condense.errors import Refused, install

LICENCES = "licences.txt"
"""The licences of what the script holds, which stand beside it in the page."""


def require_vega() -> None:
    """Refuses to go on without the package that carries the script."""
    if find_spec("vl_convert") is None:
        reason = "the page is drawn by Vega-Lite, and vl-convert-python, which carries it, is not installed"
        raise Refused(f"{reason}: {install('web')}")


def vega_script() -> str:
    """Returns a script that defines ``vegaEmbed``, with Vega and Vega-Lite in it; takes a few seconds.

    Raises:
        Refused: if the package that carries it is not installed.
    """
    require_vega()
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
