"""The report's charts, one per file, each as two functions: the material to numbers, numbers to Plotly."""

from kdsearch.report.chart import Chart
from kdsearch.report.charts import growth, pareto
from kdsearch.report.material import Material


def charts(material: Material) -> list[Chart]:
    """All of the report's charts, in the order in which the page shows them."""
    return [pareto.chart(material), growth.chart(material)]


__all__ = ["charts"]
