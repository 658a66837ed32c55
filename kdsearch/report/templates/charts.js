"use strict";
// Draws each chart from the JSON beside it, in the page's own colours, light or dark.
(() => {
  const colours = () => {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    return {
      "font.color": colour("--ink"),
      "xaxis.gridcolor": colour("--grid"),
      "yaxis.gridcolor": colour("--grid"),
      "hoverlabel.bgcolor": colour("--panel"),
      "hoverlabel.bordercolor": colour("--line"),
      "hoverlabel.font.color": colour("--ink"),
      "modebar.bgcolor": "rgba(0,0,0,0)",
      "modebar.color": colour("--quiet"),
      "modebar.activecolor": colour("--ink"),
    };
  };
  const charts = [...document.querySelectorAll("[data-chart]")];
  const touch = matchMedia("(pointer: coarse)").matches;
  for (const chart of charts) {
    const figure = JSON.parse(document.getElementById(chart.dataset.chart).textContent);
    // named one by one: among Plotly's own choice is a button that uploads the chart to Plotly's servers
    const buttons = ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"];
    if ("downloads" in chart.dataset) buttons.unshift("toImage");
    const config = {
      responsive: true, displaylogo: false, doubleClick: "reset", modeBarButtons: [buttons], plotlyServerURL: "",
    };
    if (touch) figure.layout.dragmode = false; // a finger on the chart scrolls the page
    chart.replaceChildren();
    Plotly.newPlot(chart, figure.data, figure.layout, config).then(() => Plotly.relayout(chart, colours()));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const chart of charts) Plotly.relayout(chart, colours());
  });
})();
