"""Pages: one HTML file each, plotly.js and all, which opens offline and asks nothing of any network.

What a page shows comes from a database and from users' files: Jinja2 escapes all of it, the charts' JSON has its angle
brackets escaped by Plotly, and a content security policy lets nothing run but the scripts whose hashes it names.
"""

import base64
import hashlib
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import plotly
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

import kdsearch
from kdsearch.files import writable, write_text
from kdsearch.report import tables
from kdsearch.report.chart import Chart
from kdsearch.report.charts import charts, pareto
from kdsearch.report.material import Material


def write_report(material: Material, folder: Path) -> Path:
    """Write the study's report as `folder/index.html` and give its path. Raises `Mistake` where it cannot write."""
    path = folder / "index.html"
    with writable(path):
        write_text(path, report_page(material))
    return path


def report_page(material: Material) -> str:
    """Everything the report says, as one HTML document."""
    table, facts = material.table, material.facts
    listed, left_out = tables.reasons(table)
    return _render(
        "report.html.j2",
        material,
        charts(material),
        volume=tables.volume_words(table, facts),
        findings=[tables.finding_table(finding, table) for finding in material.findings],
        pooled=tables.pooled_words(material.findings),
        teacher_test=material.teacher_test,
        importances=tables.importance_columns(material.importances),
        reasons=listed,
        reasons_left_out=left_out,
        name=shlex.quote(facts.name),
        study_file=Path(facts.file).name if facts.file else None,
        ended=_last_end(table),
        downloads=True,
    )


def pareto_page(material: Material) -> str:
    """The Pareto chart and the front's table alone, for a frame that allows scripts and nothing else."""
    return _render("pareto.html.j2", material, [pareto.chart(material)], downloads=False)


def _render(template: str, material: Material, shown: Sequence[Chart], **further: object) -> str:
    table, facts = material.table, material.facts
    figures = {chart.name: chart.figure for chart in shown if chart.figure is not None}
    scripts = [_own("errors.js"), get_plotlyjs(), _own("charts.js")] if figures else []
    text = (
        _environment()
        .get_template(template)
        .render(
            facts=facts,
            counts=tables.counts(table),
            columns=tables.front_columns(table, facts),
            summary=tables.summary(table, facts),
            caution=tables.caution(table, facts),
            rule=tables.rule_words(facts),
            charts={chart.name: chart for chart in shown},
            figures={name: Markup(figure.to_json()) for name, figure in figures.items()},  # noqa: S704 - Plotly escapes < and >
            style=Markup(_own("style.css")),  # noqa: S704 - our own file
            scripts=[Markup(script) for script in scripts],  # noqa: S704 - our own files and plotly.js
            policy=_policy(scripts),
            made=f"kdsearch {kdsearch.__version__} and Plotly {plotly.__version__}",
            **further,
        )
    )
    return text.encode("utf-8", "replace").decode()  # a database may hold text that UTF-8 cannot


def _policy(scripts: list[str]) -> str:
    """Nothing is loaded and nothing but `scripts` runs. Plotly styles charts inline and draws its PNGs from blobs."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "form-action 'none'; base-uri 'none'"
    )


def _last_end(table: pd.DataFrame) -> str | None:
    ended = table["ended_ms"].dropna()
    if ended.empty:
        return None
    return datetime.fromtimestamp(float(ended.max()) / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _own(name: str) -> str:
    return (files("kdsearch.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    loader: Any = PackageLoader("kdsearch.report")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
