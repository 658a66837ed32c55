// A filter such as: parameters<5000 start=hints "MobileNet": comparisons of columns, and words that any column may have.
const COMPARISON = /("[^"]+"|[\p{L}\p{N}_.]+)\s*(<=|>=|!=|==|=|<|>)\s*("[^"]*"|[^\s"]+)/gu;
const unquoted = (text) => (text.startsWith('"') ? text.slice(1, -1) : text);
const numberOf = (text) => {
  const plain = text.replace(/(?<=\d),(?=\d{3})/g, "");
  if (plain.endsWith("%")) return Number(plain.slice(0, -1) || NaN) / 100;
  return plain === "" ? NaN : Number(plain);
};
const COMPARE = {
  "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b,
};

// {passes(row), problem}; `row.said()` is all that words are looked for in
const makeFilter = (query, known) => {
  const tests = [];
  let problem = "";
  const rest = query.replace(COMPARISON, (_, left, sign, right) => {
    const name = unquoted(left), wanted = unquoted(right), value = numberOf(wanted);
    if (!known.has(name)) {
      problem = `There is no column ${name}; there are: ${known.names.join(", ")}.`;
    } else if (sign in COMPARE) {
      if (Number.isNaN(value)) problem = `${name}${sign}${wanted}: what follows ${sign} must be a number.`;
      // a trial that does not have the figure is neither above nor below
      tests.push((position) => COMPARE[sign](known.number(position, name), value));
    } else {
      const equal = (position) => {
        const text = known.cell(position, name);
        return text.toLowerCase() === wanted.toLowerCase() || (text !== "" && Number(text) === value);
      };
      tests.push(sign === "!=" ? (position) => !equal(position) : equal);
    }
    return " ";
  });
  const words = (rest.match(/"[^"]*"|[^\s"]+/g) ?? []).map((word) => unquoted(word).toLowerCase());
  const passes = (row) => {
    if (!tests.every((test) => test(row.position))) return false;
    if (!words.length) return true;
    const all = row.said().toLowerCase();
    return words.every((word) => all.includes(word));
  };
  return { passes, problem };
};
