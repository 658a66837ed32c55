"""The report of one study, and the two pages that MLflow frames."""

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from kdsearch.files import writable, write_text
from kdsearch.frame import front
from kdsearch.report import tables
from kdsearch.report.chart import Chart
from kdsearch.report.charts import charts, growth, pareto
from kdsearch.report.folders import check_ours
from kdsearch.report.headline import headline
from kdsearch.report.material import Material
from kdsearch.report.render import render
from kdsearch.report.trials import trials_data


def write_report(material: Material, folder: Path) -> Path:
    """Write the study's report as `folder/index.html` and give its path. Raises `Mistake` where it cannot write, and
    where the folder is not ours (`kdsearch.report.folders`).
    """
    return write_page(report_page(material), folder)


def write_page(page: str, folder: Path) -> Path:
    path = folder / "index.html"
    with writable(path):
        check_ours(folder)
        write_text(path, page)
    return path


def report_page(material: Material) -> str:
    """Everything the report says, as one HTML document."""
    return page_of(material, charts(material))


def page_of(material: Material, shown: Sequence[Chart]) -> str:
    """The report with these charts, the first above the front's table: none before a trial is on the front."""
    table, facts = material.table, material.facts
    listed, left_out = tables.reasons(table)
    return render(
        "report.html.j2",
        shown if len(front(table)) else [],
        {"trials": trials_data(material)},
        **_common(material),
        headline=headline(material),
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
        surroundings=[str(one) for one in material.surroundings],
    )


def pareto_page(material: Material) -> str:
    """The Pareto chart and the front's table alone, for a frame that allows scripts and nothing else."""
    return _framed(material, pareto.chart(material), "the front", with_table=True)


def growth_page(material: Material) -> str:
    """The hypervolume's growth alone, for such a frame."""
    return _framed(material, growth.chart(material), "how the search went", with_table=False)


def _framed(material: Material, chart: Chart, subject: str, *, with_table: bool) -> str:
    data = {"trials": {**trials_data(material), "links": {}}}
    return render("framed.html.j2", [chart], data, **_common(material), subject=subject, with_table=with_table)


def _common(material: Material) -> dict[str, object]:
    table, facts = material.table, material.facts
    return {
        "title": facts.name,
        "facts": facts,
        "counts": tables.counts(table),
        "columns": tables.front_columns(table, facts),
        "summary": tables.summary(table, facts),
        "caution": tables.caution(table, facts),
        "rule": tables.rule_words(facts),
    }


def _last_end(table: pd.DataFrame) -> str | None:
    ended = table["ended_ms"].dropna()
    if ended.empty:
        return None
    return datetime.fromtimestamp(float(ended.max()) / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
