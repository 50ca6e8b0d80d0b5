/* Filters such as `model=gru and lr<0.01 and not status=failed`: words to a function of a run's number. */
class FilterError extends Error {}

const OPERATORS = ["<=", ">=", "!=", "==", "=", "<", ">", "~"];
const ALIASES = { status: "state", id: "run", name: "run" };

function tokens(text) {
  const found = [];
  const pattern = /\s*(?:([()])|(<=|>=|!=|==|=|<|>|~)|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^\s()<>=!~"']+)|(\S))/gy;
  while (pattern.lastIndex < text.trimEnd().length) {
    const at = pattern.lastIndex;
    const match = pattern.exec(text);
    if (!match || match[6] !== undefined) throw new FilterError(`what is ${text.slice(at).trim().slice(0, 10)} here?`);
    const [, bracket, operator, double, single, word] = match;
    const quoted = double ?? single;
    if (bracket) found.push({ kind: bracket });
    else if (operator) found.push({ kind: "operator", text: operator });
    else if (quoted !== undefined) found.push({ kind: "word", text: quoted.replace(/\\(.)/g, "$1"), quoted: true });
    else found.push({ kind: "word", text: word });
  }
  return found;
}

/* A function from a run's number to true or false; throws FilterError, which says what is wrong. */
function compileFilter(text) {
  const list = tokens(text);
  if (!list.length) return () => true;
  let at = 0;
  const isWord = (word) => list[at]?.kind === "word" && !list[at].quoted && list[at].text.toLowerCase() === word;
  const either = () => {
    const parts = [both()];
    while (isWord("or")) at++, parts.push(both());
    return parts.length === 1 ? parts[0] : (i) => parts.some((part) => part(i));
  };
  const both = () => {
    const parts = [one()];
    while (isWord("and")) at++, parts.push(one());
    return parts.length === 1 ? parts[0] : (i) => parts.every((part) => part(i));
  };
  const one = () => {
    if (isWord("not")) {
      at++;
      const part = one();
      return (i) => !part(i);
    }
    const token = list[at++];
    if (!token) throw new FilterError("something is missing at the end");
    if (token.kind === "(") {
      const part = either();
      if (list[at++]?.kind !== ")") throw new FilterError("a ) is missing");
      return part;
    }
    if (token.kind !== "word") throw new FilterError(`${token.text ?? token.kind}: a setting or result should stand before it`);
    if (list[at]?.kind !== "operator") return (i) => matchesText(i, token.text.toLowerCase());
    const operator = list[at++].text;
    const value = list[at++];
    if (value?.kind !== "word") throw new FilterError(`${token.text}${operator}: a value is missing`);
    return comparison(fieldNamed(token.text), operator, value);
  };
  const whole = either();
  if (at < list.length) throw new FilterError(`${list[at].text ?? list[at].kind}: put "and" or "or" before it`);
  return whole;
}

function fieldNamed(name) {
  const key = ALIASES[name.toLowerCase()] ?? name;
  if (FIELD.has(key)) return FIELD.get(key);
  if (Object.hasOwn(DATA.shared, key)) return new Field(key, key, "shared", () => DATA.shared[key]);
  const ends = [...FIELD.keys()].filter((other) => other.endsWith(`.${key}`));
  if (ends.length === 1) return FIELD.get(ends[0]);
  if (ends.length > 1) throw new FilterError(`${name}: which one? ${ends.slice(0, 4).join(", ")}`);
  const shared = Object.keys(DATA.shared).filter((other) => other.endsWith(`.${key}`));
  if (shared.length === 1) return new Field(key, key, "shared", () => DATA.shared[shared[0]]);
  const known = [...FIELD.keys(), ...Object.keys(ALIASES)];
  const near = closest(name, known.flatMap((other) => [other, other.split(".").at(-1)]));
  throw new FilterError(`${name}: no such setting or result${near ? `; did you mean ${near}?` : ""}`);
}

function comparison(field, operator, token) {
  const text = token.text;
  const number = !token.quoted && text.trim() !== "" ? Number(text) : NaN;
  if (operator === "~") return (i) => shownValue(field.value(i)).toLowerCase().includes(text.toLowerCase());
  if (operator === "=" || operator === "==") return (i) => equals(field.value(i), text, number);
  if (operator === "!=") return (i) => !equals(field.value(i), text, number);
  if (Number.isNaN(number)) throw new FilterError(`${field.key}${operator}${text}: ${text} is no number`);
  const compare = { "<": (v) => v < number, ">": (v) => v > number, "<=": (v) => v <= number, ">=": (v) => v >= number }[operator];
  return (i) => typeof field.value(i) === "number" && compare(field.value(i));
}

function equals(value, text, number) {
  if (typeof value === "number") return value === number;
  return value !== undefined && shownValue(value).toLowerCase() === text.toLowerCase();
}

let searchable;
function matchesText(i, text) {
  searchable ??= RUNS.map((_, run) =>
    FIELDS.filter((f) => f.group !== "other settings" && !f.number).map((f) => shownValue(f.value(run))).join("\n").toLowerCase());
  return searchable[i].includes(text);
}

/* The word that differs by the fewest letters, if those are few. */
function closest(word, words) {
  let best;
  let least = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const other of new Set(words)) {
    const distance = edits(word.toLowerCase(), other.toLowerCase(), least);
    if (distance < least) [best, least] = [other, distance];
  }
  return best;
}

function edits(a, b, limit) {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  let before = [];
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
      // Two letters that have changed places are one mistake.
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) next[j] = Math.min(next[j], before[j - 2] + 1);
    }
    [before, row] = [row, next];
  }
  return row[b.length];
}
