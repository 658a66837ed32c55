// The picked trial's panel: all that is known of it.
const detail = byId("detail");
let returnTo = null;

const facts = (rows) => {
  const known = rows.filter(([, text]) => text !== "" && text != null);
  if (!known.length) return null;
  return element("dl", {}, ...known.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]));
};
const part = (title, content) => (content ? [element("h3", {}, title), content] : []);

const figureRows = (known, position) => {
  const cell = (name) => known.cell(position, name);
  const accuracy = known.number(position, "accuracy"), teacher = known.told.teacher.accuracy;
  const share = known.number(position, "share");
  return [
    ["parameters", shown(cell("parameters"))],
    ["% of the teacher's", Number.isNaN(share) ? "" : percent(share)],
    ["validation accuracy", Number.isNaN(accuracy) ? "" : `${(100 * accuracy).toFixed(2)} %`],
    ["beside the teacher", Number.isNaN(accuracy) || teacher === null ? "" : `${signed(100 * (accuracy - teacher))} points`],
    ...["macro_f1", "macs", "size_kb", "latency_ms"].map((name) => [name, shown(cell(name))]),
    ["seconds", shown(cell("seconds"))],
  ];
};

const confirmedRows = (known, position) => {
  if (!known.cell(position, "test_accuracy")) return [];
  const points = (name) => (100 * known.number(position, name)).toFixed(2);
  const interval = (mean, stem) =>
    known.cell(position, mean) ? `${points(mean)} % (${points(`${stem}_low`)} to ${points(`${stem}_high`)})` : "";
  const part = (name) => signed(100 * known.number(position, name));
  const gain = known.cell(position, "gain") ? `${part("gain")} points (${part("gain_low")} to ${part("gain_high")})` : "";
  return [
    ["test accuracy", interval("test_accuracy", "test")],
    ["alone", interval("alone_test_accuracy", "alone")],
    ["by distillation", gain],
    ["distilled is", known.cell(position, "verdict")],
    ["fresh seeds", shown(known.cell(position, "test_seeds"))],
  ];
};

const stageTable = (stages) => {
  if (!stages) return null;
  const titles = ["stage", "epochs", "last loss", "val. acc., %", "seconds"];
  const texts = ([stage, epochs, loss, accuracy, seconds]) =>
    [stage, epochs, loss ?? "", accuracy === null ? "" : (100 * accuracy).toFixed(2), seconds].map(String);
  const row = (name, cells) =>
    element("tr", {}, ...cells.map((text, place) => element(name, { class: place ? "number" : null }, text)));
  const table = element("table", {}, element("thead", {}, row("th", titles)));
  table.append(element("tbody", {}, ...stages.map((stage) => row("td", texts(stage)))));
  return element("div", { class: "scroll" }, table);
};

const webLink = (address) => {
  if (!/^https?:\/\//i.test(address ?? "")) return null;
  return element("a", { href: address, rel: "noopener noreferrer", target: "_blank" }, "its run in MLflow");
};

const panel = (known, trial) => {
  const position = known.position(trial), told = known.told;
  const close = element("button", { type: "button", class: "close", "aria-label": "Close (Escape)", onclick: () => pick(null) }, "✕");
  const step = (text, label, by) =>
    element("button", { type: "button", "aria-label": label, onclick: () => stepTrial(by) }, text);
  const title = element("h2", { tabindex: -1 }, `Trial ${trial}`);
  const marks = [known.cell(position, "state")];
  if (known.onFront(trial)) marks.push("on the front");
  for (const [rule, chosen] of Object.entries(told.picks)) if (chosen === trial) marks.push(rule);
  const recipe = told.recipe.map((name) => [name, shown(known.cell(position, name))]);
  const seeds = Object.entries(told.seeds[trial] ?? {});
  const reason = known.cell(position, "reason");
  const buttons = element("div", {}, step("‹", "Previous trial of the table", -1), step("›", "Next trial of the table", 1), close);
  return [
    element("header", {}, title, buttons),
    element("p", {}, ...marks.map((mark) => element("span", { class: "chip" }, mark))),
    reason ? element("p", { class: "reason warning" }, reason) : null,
    facts(figureRows(known, position)),
    ...part("On fresh seeds, on test", facts(confirmedRows(known, position))),
    ...part("Recipe", facts(recipe)),
    ...part("Curve by stage", stageTable(told.stages[trial])),
    ...part("Seeds", facts(seeds)),
    ...part("MLflow", webLink(told.links[trial])),
  ].filter((node) => node !== null);
};

const showDetail = (trial, origin) => {
  if (!detail) return;
  hideTip();
  if (trial === null) {
    detail.hidden = true;
    detail.replaceChildren();
    const target = returnTo?.isConnected ? returnTo : returnTo && document.querySelector(`[data-pick="${returnTo.dataset.pick}"]`);
    returnTo = null;
    target?.focus({ preventScroll: true });
    return;
  }
  const within = detail.contains(document.activeElement);
  detail.replaceChildren(...panel(frame(), trial));
  detail.hidden = false;
  detail.scrollTop = 0;
  if (origin !== null) returnTo = origin;
  // whoever came by the keyboard goes on in the panel
  if (within || origin !== null) detail.querySelector("h2").focus({ preventScroll: true });
};

listeners.push(showDetail);
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && picked !== null) pick(null);
});
