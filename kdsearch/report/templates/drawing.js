// Draws each chart when it comes near, in the page's own colours, light or dark.
const charts = new Map(); // by name: {node, axes, shown}
const downloads = "downloads" in document.body.dataset;
const touch = matchMedia("(pointer: coarse)").matches;

// Plotly's arrays in base64 as typed arrays: what picks trials reads them too
const ARRAYS = {
  i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array,
  f4: Float32Array, f8: Float64Array,
};
const decoded = (value) => {
  if (Array.isArray(value)) return value.length && typeof value[0] === "object" ? value.map(decoded) : value;
  if (value === null || typeof value !== "object") return value;
  if (typeof value.bdata === "string" && value.dtype in ARRAYS && value.shape === undefined) {
    const bytes = Uint8Array.from(atob(value.bdata), (sign) => sign.charCodeAt(0));
    return new ARRAYS[value.dtype](bytes.buffer);
  }
  for (const key of Object.keys(value)) value[key] = decoded(value[key]);
  return value;
};

const colour = (() => {
  let probe = null;
  return (name) => {
    probe ??= document.body.appendChild(element("span", { hidden: true }));
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color; // light-dark() is resolved in a used colour alone
  };
})();

const colours = (layout) => {
  const found = {
    "font.color": colour("--ink"),
    "hoverlabel.bgcolor": colour("--panel"),
    "hoverlabel.bordercolor": colour("--line"),
    "hoverlabel.font.color": colour("--ink"),
    "modebar.bgcolor": "rgba(0,0,0,0)",
    "modebar.color": colour("--quiet"),
    "modebar.activecolor": colour("--ink"),
  };
  for (const key of Object.keys(layout)) {
    if (/^[xy]axis\d*$/.test(key)) found[`${key}.gridcolor`] = colour("--grid");
  }
  return found;
};

const setAt = (layout, path, value) => {
  const keys = path.split("."), last = keys.pop();
  let place = layout;
  for (const key of keys) place = place[key] ??= {};
  place[last] = value;
};

const draw = (name, now = false) => {
  if (charts.has(name)) return;
  const node = document.querySelector(`[data-chart="${name}"]`);
  const figure = decoded(JSON.parse(byId(`${name}-data`).textContent));
  // named one by one: among Plotly's own choice is a button that uploads the chart to Plotly's servers
  const buttons = ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"];
  if (downloads) buttons.unshift("toImage");
  const config = {
    responsive: true, displaylogo: false, doubleClick: "reset", modeBarButtons: [buttons], plotlyServerURL: "",
    toImageButtonOptions: { filename: name },
  };
  if (touch) figure.layout.dragmode = false; // a finger on the chart scrolls the page
  if (figure.layout.height) node.style.height = `${figure.layout.height}px`;
  const chart = { node, name, axes: figure.layout.meta?.axes ?? [], highlights: [] };
  charts.set(name, chart);
  prepareLinks(chart, figure);
  node.replaceChildren();
  for (const [path, value] of Object.entries(colours(figure.layout))) setAt(figure.layout, path, value);
  const crowds = takeCrowds(figure.data);
  Plotly.newPlot(node, figure.data, figure.layout, config); // once: a relayout would draw it all again
  const whole = () => {
    if (crowds.traces.length) Plotly.restyle(node, { x: crowds.x, y: crowds.y }, crowds.traces);
    node.dataset.drawn = performance.now().toFixed(0);
    offerAxes(chart);
    link(chart);
  };
  if (crowds.traces.length && !now) requestAnimationFrame(() => setTimeout(whole));
  else whole();
};

// Thousands of marks take seconds: they follow once what is few, the front above all, is on the screen.
const CROWD = 1_000;
const takeCrowds = (data) => {
  const traces = data.map((_, number) => number).filter((number) => (data[number].customdata?.length ?? 0) > CROWD);
  const taken = { traces, x: traces.map((number) => data[number].x), y: traces.map((number) => data[number].y) };
  for (const number of traces) Object.assign(data[number], { x: [], y: [] });
  return taken;
};

const drawAll = () => {
  for (const node of document.querySelectorAll("[data-chart]")) draw(node.dataset.chart, true);
};

const recolour = () => {
  for (const { node } of charts.values()) Plotly.relayout(node, colours(node.layout));
  recolourLinks();
};

// other x axes, where the chart has them
const offerAxes = (chart) => {
  const place = document.querySelector(`[data-axis="${chart.name}"]`);
  if (!place || chart.axes.length < 2) return;
  const choice = element("select", { id: `${chart.name}-x`, onchange: () => switchAxis(chart, chart.axes[choice.value]) });
  chart.axes.forEach((axis, number) => choice.append(element("option", { value: number }, axis.title || axis.name)));
  place.replaceChildren(element("label", { for: choice.id }, "x axis"), choice);
  place.hidden = false;
};

const switchAxis = (chart, axis) => {
  const traces = axis.x.map((_, number) => number).filter((number) => axis.x[number] != null);
  const ticks = axis.tickvals ?? null;
  Plotly.update(chart.node, { x: traces.map((number) => axis.x[number]) }, {
    "xaxis.title.text": axis.title, "xaxis.type": axis.type ?? "linear",
    "xaxis.tickmode": ticks ? "array" : "auto", "xaxis.tickvals": ticks, "xaxis.ticktext": axis.ticktext ?? null,
    "xaxis.autorange": !axis.range, ...(axis.range ? { "xaxis.range": axis.range } : {}),
  }, traces);
  highlight(chart);
};
