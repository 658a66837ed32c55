"""A template to one HTML file that opens offline and asks nothing of any network.

What a page shows comes from a database and from users' files: Jinja2 escapes all of it, `json_block` what is embedded
as JSON, and a content security policy lets nothing run but the scripts whose hashes it names.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import plotly
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

import kdsearch
from kdsearch.report.chart import Chart

_PARTS = ("parts.js", "frame.js", "filter.js", "drawing.js", "linking.js", "detail.js", "table.js", "start.js")
_UNSAFE = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}

GENERATOR = "kdsearch"
"""How the `generator` of every page that is ours begins."""


def render(template: str, charts: Sequence[Chart], data: Mapping[str, object], **told: object) -> str:
    """The page: `charts` drawn by plotly.js (left out where none has a figure), `data` embedded by name for the page's
    own scripts, and what else the template wants.
    """
    drawn = [chart for chart in charts if chart.figure is not None]
    scripts = [_own("errors.js"), *([get_plotlyjs()] if drawn else []), _page_script()]
    text = (
        _environment()
        .get_template(template)
        .render(
            charts=charts,
            blocks={f"{chart.name}-data": _figure_block(chart) for chart in drawn},
            data={f"{name}-data": json_block(value) for name, value in data.items()},
            style=Markup(_own("style.css")),  # noqa: S704 - our own file
            scripts=[Markup(script) for script in scripts],  # noqa: S704 - our own files and plotly.js
            policy=_policy(scripts),
            generator=f"{GENERATOR} {kdsearch.__version__}",
            made=f"kdsearch {kdsearch.__version__} and Plotly {plotly.__version__}",
            **told,
        )
    )
    return text.encode("utf-8", "replace").decode()  # a database may hold text that UTF-8 cannot


def json_block(value: object) -> Markup:
    """JSON that can stand in a script element: nothing in it ends the element or begins another."""
    return _escaped(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


def _figure_block(chart: Chart) -> Markup:
    assert chart.figure is not None
    return _escaped(chart.figure.to_json())


def _escaped(text: str) -> Markup:
    return Markup(text.translate(_UNSAFE))  # noqa: S704 - outside of JSON's strings there are no such signs


def _policy(scripts: Sequence[str]) -> str:
    """Nothing is loaded and nothing but `scripts` runs. Plotly styles charts inline and draws its PNGs from blobs."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "form-action 'none'; base-uri 'none'"
    )


@cache
def _page_script() -> str:
    """The page's own scripts as one, so that they share their names with each other and with nothing else."""
    inner = "\n".join(_own(name) for name in _PARTS)
    return f'(() => {{\n"use strict";\n{inner}\n}})();'


@cache
def _own(name: str) -> str:
    return (files("kdsearch.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    loader: Any = PackageLoader("kdsearch.report")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
