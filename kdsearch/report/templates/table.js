// The table of trials: the front as the page was written, or all trials as the frame has them.
const PAGE = 200;
const table = byId("trials");
const view = { all: false, order: [], page: 0, query: "", sort: null };
let frontModel = null, allModel = null;

// {columns: [{title, key, number}], rows: [{trial, position, texts, said}]}
const readFront = (known) => ({
  columns: [...(table?.tHead.rows[0].cells ?? [])].map((cell) => ({
    title: cell.textContent, key: cell.dataset.key ?? "", number: cell.classList.contains("number"),
  })),
  rows: [...(table?.tBodies[0].rows ?? [])].map((row) => {
    const trial = Number(row.dataset.trial);
    const texts = [...row.cells].map((cell) => cell.textContent);
    return { trial, position: known.position(trial), texts, said: () => texts.join("\n") };
  }),
});

const HIDDEN = new Set(["began_ms", "ended_ms"]);
const readAll = (known) => {
  const columns = known.filled().filter((name) => !HIDDEN.has(name)).map((name) => ({
    title: name, key: name, number: known.isNumeric(name),
  }));
  const rows = Array.from({ length: known.count }, (_, position) => ({
    trial: known.trial(position), position,
    said: () => known.line(position),
    get texts() { return columns.map(({ key }) => shown(known.cell(position, key))); },
  }));
  return { columns, rows };
};

const model = () => {
  frontModel ??= readFront(frame());
  if (!view.all) return frontModel;
  return (allModel ??= readAll(frame()));
};

const sortKey = (column, place) => {
  const known = frame();
  if (column.key && known.isNumeric(column.key)) return (row) => known.number(row.position, column.key);
  if (column.key) return (row) => known.cell(row.position, column.key);
  const numeric = column.number && model().rows.every(({ texts }) => Number.isFinite(Number(texts[place])));
  return (row) => (numeric ? (row.texts[place] === "" ? NaN : Number(row.texts[place])) : row.texts[place]);
};

const missing = (value) => value === "" || Number.isNaN(value);
const sorted = (rows) => {
  if (view.sort === null) return rows;
  const { place, down } = view.sort;
  const key = sortKey(model().columns[place], place);
  const keyed = rows.map((row) => [key(row), row]);
  keyed.sort(([a], [b]) => {
    if (missing(a) || missing(b)) return missing(a) - missing(b); // what a trial does not have comes last either way
    const order = typeof a === "number" ? a - b : a < b ? -1 : a > b ? 1 : 0;
    return down ? -order : order;
  });
  return keyed.map(([, row]) => row);
};

const arrange = () => {
  const { passes, problem } = makeFilter(view.query, frame());
  const rows = model().rows.filter((row) => passes(row));
  view.order = sorted(rows);
  view.page = 0;
  const told = byId("told");
  told.textContent = problem || `${WHOLE.format(rows.length)} of ${WHOLE.format(model().rows.length)} trials`;
  told.classList.toggle("wrong", problem !== "");
  render();
};

const heading = (column, place) => {
  const sort = view.sort?.place === place ? (view.sort.down ? "descending" : "ascending") : null;
  const order = () => {
    view.sort = { place, down: sort === "ascending" };
    arrange();
    table.tHead.rows[0].cells[place].firstChild.focus();
  };
  const button = element("button", { type: "button", onclick: order }, column.title);
  return element("th", { scope: "col", class: column.number ? "number" : null, "aria-sort": sort }, button);
};

const line = (row, columns) => {
  const cells = row.texts.map((text, place) => element("td", { class: columns[place].number ? "number" : text.length > 60 ? "long" : null }, text));
  const button = element("button", { type: "button", class: "pick", "data-pick": row.trial, "aria-label": `Trial ${row.trial}` });
  button.append(...cells[0].childNodes);
  cells[0].append(button);
  return element("tr", { "data-trial": row.trial, class: row.trial === picked ? "picked" : null, "aria-current": row.trial === picked ? "true" : null }, ...cells);
};

const render = () => {
  const { columns } = model();
  const from = view.page * PAGE, rows = view.order.slice(from, from + PAGE);
  table.tHead.rows[0].replaceChildren(...columns.map(heading));
  table.tBodies[0].replaceChildren(...rows.map((row) => line(row, columns)));
  table.dataset.live = "";
  const pager = byId("pager"), pages = Math.ceil(view.order.length / PAGE);
  pager.hidden = pages < 2;
  const turn = (text, page) => element("button", { type: "button", disabled: page < 0 || page >= pages, onclick: () => { view.page = page; render(); } }, text);
  const span = `${WHOLE.format(from + 1)} to ${WHOLE.format(from + rows.length)} of ${WHOLE.format(view.order.length)}`;
  pager.replaceChildren(turn("Previous", view.page - 1), element("span", {}, span), turn("Next", view.page + 1));
};

const showMode = (all) => {
  view.all = all;
  view.sort = null;
  for (const button of document.querySelectorAll("[data-mode]")) {
    button.setAttribute("aria-pressed", String((button.dataset.mode === "all") === all));
  }
  arrange();
};

const stepTrial = (by) => {
  const place = view.order.findIndex(({ trial }) => trial === picked);
  const next = view.order[place < 0 ? 0 : place + by];
  if (!next) return;
  view.page = Math.floor(view.order.indexOf(next) / PAGE);
  render();
  pick(next.trial);
};

const saveCsv = () => {
  const known = frame();
  const name = document.title.replace(/: kdsearch$/, "").replace(/[^\w.-]+/g, "_");
  download(`${name}-${view.all ? "trials" : "front"}.csv`, view.all ? known.csv() : known.csv(known.told.front));
};

const startTable = () => {
  const controls = byId("controls");
  if (!table || !controls || !frame()) return;
  const filter = element("input", {
    id: "filter", type: "search", placeholder: "filter: hints parameters<5000 accuracy>=0.95", autocomplete: "off",
    spellcheck: "false", "aria-label": "Filter the trials: words, or comparisons such as parameters<5000",
    oninput: () => { view.query = filter.value; arrange(); },
  });
  const mode = (text, name) => element("button", { type: "button", "data-mode": name, "aria-pressed": String(name === "front"), onclick: () => showMode(name === "all") }, text);
  const switcher = element("div", { class: "group", role: "group", "aria-label": "Which trials" }, mode("Front", "front"), mode("All trials", "all"));
  const csv = downloads ? element("button", { type: "button", id: "csv", onclick: saveCsv }, "Download CSV") : null;
  controls.replaceChildren(switcher, element("label", { for: "filter" }, filter), ...(csv ? [csv] : []));
  controls.append(element("output", { class: "told", id: "told" }));
  controls.hidden = false;
  table.tBodies[0].addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-trial]");
    if (!row || getSelection().toString()) return; // who marks text to copy it picks nothing
    pick(Number(row.dataset.trial), row.querySelector(".pick"));
  });
  arrange();
};

listeners.push((trial) => {
  for (const row of table?.tBodies[0].rows ?? []) {
    const chosen = Number(row.dataset.trial) === trial;
    row.classList.toggle("picked", chosen);
    if (chosen) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
});
