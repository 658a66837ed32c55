// One picked trial for the whole page: in every chart, in the table, in its panel, in the address.
let picked = null;
const listeners = [];
const addressed = "addressed" in document.body.dataset; // MLflow's frame has no address of its own

const pick = (trial, origin = null) => {
  const known = trial !== null && frame()?.position(trial) !== undefined ? trial : null;
  if (known === picked) return;
  picked = known;
  for (const chart of charts.values()) highlight(chart);
  for (const listener of listeners) listener(picked, origin);
  if (!addressed) return;
  if (picked !== null) history.replaceState(null, "", `#trial-${picked}`);
  else if (/^#trial-\d+$/.test(location.hash)) history.replaceState(null, "", location.pathname + location.search);
};

const pickAddressed = () => {
  const found = /^#trial-(\d+)$/.exec(location.hash);
  if (found) pick(Number(found[1]));
};

// Each pair of axes on which trials stand gets one more trace, empty until a trial is picked: marks get a ring, lines a
// bolder line.
const prepareLinks = (chart, figure) => {
  const kinds = new Map();
  figure.data.forEach((trace, number) => {
    if (!trace.customdata) return;
    const lines = (trace.mode ?? "").includes("lines");
    const type = trace.type === "scattergl" ? "scattergl" : "scatter";
    const key = [trace.xaxis ?? "x", trace.yaxis ?? "y", lines].join();
    const kind = kinds.get(key) ?? { xaxis: trace.xaxis ?? "x", yaxis: trace.yaxis ?? "y", lines, type, sources: [] };
    kind.sources.push(number);
    kinds.set(key, kind);
  });
  for (const { xaxis, yaxis, lines, type, sources } of kinds.values()) {
    chart.highlights.push({ trace: figure.data.length, sources, lines });
    figure.data.push({
      type, xaxis, yaxis, x: [], y: [], mode: lines ? "lines" : "markers", name: "picked", meta: "picked",
      hoverinfo: "skip", showlegend: false,
      line: { width: 4, color: colour("--mark") },
      marker: { size: 20, symbol: "circle-open", color: colour("--mark"), line: { width: 3.5, color: colour("--mark") } },
    });
  }
};

const highlight = (chart) => {
  for (const { trace, sources, lines } of chart.highlights) {
    const x = [], y = [];
    if (picked !== null) {
      for (const source of sources) {
        const data = chart.node.data[source];
        for (let place = 0; place < data.customdata.length; place++) {
          if (data.customdata[place] !== picked) {
            if (lines && x.length && x.at(-1) !== null) { x.push(null); y.push(null); }
            continue;
          }
          x.push(data.x[place]);
          y.push(data.y[place]);
        }
      }
    }
    if (x.length || chart.node.data[trace].x.length) Plotly.restyle(chart.node, { x: [x], y: [y] }, [trace]);
  }
};

const recolourLinks = () => {
  const mark = colour("--mark");
  for (const { node, highlights } of charts.values()) {
    const traces = highlights.map(({ trace }) => trace);
    if (traces.length) Plotly.restyle(node, { "line.color": mark, "marker.color": mark, "marker.line.color": mark }, traces);
  }
};

const trialAt = (event) => event.points.map((point) => point.customdata).find(Number.isInteger) ?? null;

// The tip of a trial's mark, written by the page: ten thousand ready-made texts per chart would not fit.
const tip = byId("tip");
const showTip = (event) => {
  const trial = trialAt(event);
  const known = frame();
  if (!tip || trial === null || known?.position(trial) === undefined) return;
  tip.replaceChildren(...tipLines(known, trial));
  tip.hidden = false;
  const { clientX = 0, clientY = 0 } = event.event ?? {};
  const { width, height } = tip.getBoundingClientRect();
  const left = clientX + 16 + width > innerWidth ? clientX - width - 16 : clientX + 16;
  const top = clientY + 16 + height > innerHeight ? clientY - height - 16 : clientY + 16;
  tip.style.left = `${Math.max(4, Math.min(left, innerWidth - width - 4))}px`;
  tip.style.top = `${Math.max(4, top)}px`;
};
const hideTip = () => {
  if (tip) tip.hidden = true;
};

const tipLines = (known, trial) => {
  const position = known.position(trial);
  const state = known.cell(position, "state");
  const title = `trial ${trial}${known.onFront(trial) ? ", on the front" : state === "complete" ? "" : `, ${state}`}`;
  const lines = [element("strong", {}, title)];
  const parameters = known.cell(position, "parameters");
  if (parameters) {
    const share = percent(known.number(position, "share"));
    lines.push(element("div", {}, `${shown(parameters)} parameters, ${share} % of the teacher's`));
  }
  const accuracy = known.number(position, "accuracy");
  if (!Number.isNaN(accuracy)) lines.push(element("div", {}, `${(100 * accuracy).toFixed(2)} % validation accuracy`));
  const recipe = known.told.recipe
    .map((name) => [name, known.cell(position, name)])
    .filter(([, text]) => text !== "")
    .map(([name, text]) => `${name} ${shown(text).slice(0, 80)}`);
  lines.push(element("span", { class: "quietly" }, recipe.join(" · ")));
  return lines;
};

const link = (chart) => {
  chart.node.on("plotly_hover", showTip);
  chart.node.on("plotly_unhover", hideTip);
  chart.node.on("plotly_click", (event) => {
    const trial = trialAt(event);
    if (trial !== null) pick(trial);
  });
  if (picked !== null) highlight(chart);
};
