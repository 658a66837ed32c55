"""The report's charts, one per file, each as two functions: the material to numbers, numbers to Plotly."""

from collections.abc import Callable

from kdsearch.report.chart import Chart
from kdsearch.report.charts import (
    curves,
    effort,
    growth,
    importances,
    layers,
    parallel,
    pareto,
    shape,
    starts,
    temperature,
)
from kdsearch.report.material import Material

CHARTS: dict[str, Callable[[Material], Chart]] = {
    "pareto": pareto.chart,
    "growth": growth.chart,
    "curves": curves.chart,
    "temperature": temperature.chart,
    "layers": layers.chart,
    "shape": shape.chart,
    "starts": starts.chart,
    "importances": importances.chart,
    "parallel": parallel.chart,
    "effort": effort.chart,
}
"""Every chart by its name, in the order in which the page shows them."""


def charts(material: Material) -> list[Chart]:
    """All of the report's charts, in the page's order."""
    return [chart(material) for chart in CHARTS.values()]


__all__ = ["CHARTS", "charts"]
