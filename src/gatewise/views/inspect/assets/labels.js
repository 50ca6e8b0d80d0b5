/* What steps, layers and directions are called. */
const SIGNS = { "\n": "⏎", "\t": "\\t", "\r": "\\r" };

/* Text as it can be seen: a newline or an escape code is written out; what is too long is cut. */
function visible(text, most = 40) {
  let found = "";
  let count = 0;
  for (const character of text) {
    if (count++ >= most) return `${found}…`;
    const code = character.codePointAt(0);
    const isControl = code < 32 || (code >= 127 && code < 160);
    found += isControl ? SIGNS[character] ?? `\\x${code.toString(16).padStart(2, "0")}` : character;
  }
  return found === " " ? "␣" : found;
}

/* A text of the data among words of the page: its writing direction stays its own. */
function quoted(text, most = 40) {
  return element("bdi", { class: "token", title: text.length > most ? visible(text, 2000) : null }, visible(text, most));
}

function arrow(direction) {
  return direction ? "←" : "→";
}

function groupName(m, layer, direction) {
  const { layers, directions } = MODELS[m];
  const parts = [...(layers > 1 ? [`layer ${layer}`] : []), ...(directions > 1 ? [`${direction ? "backward" : "forward"} ${arrow(direction)}`] : [])];
  return parts.join(", ");
}

function stepName(m, step) {
  const name = MODELS[m].names[step];
  return MODELS[m].step === "token" ? `${step} “${visible(name, 24)}”` : name === String(step) ? name : `${step} (${visible(name, 24)})`;
}

/* What stands beside each other in a heat map: steps, or words where steps are joined to them. */
function columnsOf(m, joined) {
  const { names, words, steps } = MODELS[m];
  const starts = new Map(joined && words ? words.map((word) => [word[0], word]) : []);
  const columns = { first: [], last: [], names: [], of: new Int32Array(steps) };
  for (let step = 0; step < steps; step++) {
    const [, last, text] = starts.get(step) ?? [step, step, names[step]];
    columns.first.push(step);
    columns.last.push(last);
    columns.names.push(text);
    columns.of.fill(columns.first.length - 1, step, last + 1);
    step = last;
  }
  return columns;
}

/* The longest beginning of a text that is drawn within a width. */
function fitting(ctx, text, width) {
  if (ctx.measureText(text).width <= width) return text;
  const characters = [...text];
  let [low, high] = [0, characters.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (ctx.measureText(`${characters.slice(0, middle).join("")}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return low ? `${characters.slice(0, low).join("")}…` : "";
}
