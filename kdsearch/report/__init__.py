"""Reports: a study's frame as figures and pages that open offline. The only home of Plotly."""

from kdsearch.report.compare import write_comparison
from kdsearch.report.material import Material
from kdsearch.report.page import growth_page, pareto_page, write_report

__all__ = ["Material", "growth_page", "pareto_page", "write_comparison", "write_report"]
