// The study's frame, read from the very CSV that can be downloaded. Rows are trials, in the order of their numbers.
const readCsv = (text) => {
  const rows = [], lines = [];
  let row = [], begin = 0, at = 0;
  while (at < text.length) {
    let cell;
    if (text[at] === '"') {
      let end = text.indexOf('"', at + 1);
      while (text[end + 1] === '"') end = text.indexOf('"', end + 2);
      cell = text.slice(at + 1, end).replaceAll('""', '"');
      at = end + 1;
    } else {
      const from = at;
      while (at < text.length && text[at] !== "," && text[at] !== "\n") at++;
      cell = text.slice(from, at);
    }
    row.push(cell);
    if (at >= text.length || text[at] === "\n") {
      rows.push(row);
      lines.push(text.slice(begin, at));
      row = [];
      begin = at + 1;
    }
    at++;
  }
  return { rows, lines };
};

const makeFrame = (told) => {
  const { rows, lines } = readCsv(told.csv);
  const names = rows.shift();
  const heading = lines.shift();
  const places = new Map(names.map((name, place) => [name, place]));
  const positions = new Map(rows.map((row, position) => [Number(row[0]), position]));
  const front = new Set(told.front);
  const cell = (position, name) => (places.has(name) ? rows[position][places.get(name)] : "");
  const numeric = new Map();
  const isNumeric = (name) => {
    if (!numeric.has(name)) {
      const cells = rows.map((row) => row[places.get(name)]).filter((text) => text !== "");
      numeric.set(name, cells.length > 0 && cells.every((text) => Number.isFinite(Number(text))));
    }
    return numeric.get(name);
  };
  return {
    told, names, cell, isNumeric,
    count: rows.length,
    has: (name) => places.has(name),
    line: (position) => lines[position],
    trial: (position) => Number(rows[position][0]),
    position: (trial) => positions.get(trial),
    onFront: (trial) => front.has(trial),
    number: (position, name) => {
      const text = cell(position, name);
      return text === "" ? NaN : Number(text);
    },
    // columns that at least one trial has
    filled: () => names.filter((name) => rows.some((row) => row[places.get(name)] !== "")),
    csv: (trials) =>
      trials === undefined ? told.csv
        : [heading, ...trials.map((trial) => lines[positions.get(trial)])].map((line) => `${line}\n`).join(""),
  };
};

// read when it is first asked for: it need not keep the first chart waiting
const frame = (() => {
  let made = null;
  return () => {
    if (made === null && byId("trials-data")) made = makeFrame(embedded("trials"));
    return made;
  };
})();
