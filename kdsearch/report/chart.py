"""What a chart is to the page."""

from dataclasses import dataclass

import plotly.graph_objects as go


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart of the report.

    `name` identifies it in the page: lower-case letters and hyphens. `label` tells a screen reader what it shows,
    `note` how to read it; both are plain text. `figure` is None where there is too little behind it, and `missing` then
    says so. The page draws `figure` in its own colours, and finds trials by these conventions:

    - A trace whose marks stand for trials has their numbers as `customdata`, aligned with `x`, and `hoverinfo="none"`:
      the page itself shows a tip with the trial's recipe, and picks the trial in every other chart. In a trace of lines
      (curves, parallel coordinates) every point has its trial's number, and None stands between two lines.
    - A trace that stands for anything else has no `customdata`; its `hovertext` is escaped.
    - `layout.meta["axes"]` offers other x axes: a list of {"name", "title", "type", "tickvals", "ticktext", "range",
      "x": [a list of values per trace, None where the trace stays]}; the first is what the figure shows.
    """

    name: str
    title: str
    label: str
    note: str
    figure: go.Figure | None
    missing: str = ""
    tall: bool = False
