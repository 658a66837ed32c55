// What the other parts share: elements made of text, never of markup, and values shown for people.
const root = document.documentElement;
const byId = (id) => document.getElementById(id);
const embedded = (name) => {
  const node = byId(`${name}-data`);
  return node ? JSON.parse(node.textContent) : null;
};

const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
};

const WHOLE = new Intl.NumberFormat("en"); // made once: making one takes longer than using it
// numbers with four significant digits, whole ones whole: as the page's other tables have them
const shown = (text) => {
  const value = Number(text);
  if (text === "" || !Number.isFinite(value)) return text;
  return Number.isInteger(value) ? WHOLE.format(value) : String(Number(value.toPrecision(4)));
};
const percent = (share) => (share >= 1e-3 ? (100 * share).toFixed(2) : String(Number((100 * share).toPrecision(2))));
const signed = (points) => (points >= 0 ? "+" : "−") + Math.abs(points).toFixed(2);

const download = (name, text) => {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
};
