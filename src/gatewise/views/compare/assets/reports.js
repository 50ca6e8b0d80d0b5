/* What the test of a run shows: what the page knows it draws, and the rest is a table where it is one, else text. */
const MOST_ROWS = 200;
const MOST_CELLS = 40;
const LONGEST_TEXT = 20000;
const DRAWN = {
  confusion_matrix: (value) => ([value?.counts, value?.classes].every(Array.isArray) && value.counts.every(Array.isArray) ? [confusion(value)] : null),
  forecasts: (value) => ([value?.windows, value?.targets].every(Array.isArray) && value.windows.every(isObject) ? forecasts(value) : null),
};

function reportElements(run) {
  const report = DATA.reports[run];
  const parts = Object.entries(report ?? {}).flatMap(([name, value]) => (Object.hasOwn(DRAWN, name) && DRAWN[name](value)) || [plainPart(name, value)]);
  if (!report) parts.push(element("p", { class: "note" }, "No report: it was not tested."));
  return [...parts, ...DATA.pictures[run].map(pictureElement)];
}

function pictureElement({ name, data, problem }) {
  if (!data) return element("p", { class: "note" }, element("bdi", {}, name), `: ${problem}`);
  return element("figure", { class: "picture" }, element("figcaption", {}, element("bdi", {}, name)), element("img", { src: `data:image/png;base64,${data}`, alt: name }));
}

const isPlain = (value) => value === null || typeof value !== "object";
const isObject = (value) => !isPlain(value) && !Array.isArray(value);

/* [heads, rows] of a value that is a table: rows or columns by name, or a matrix; null where it is none. */
function asTable(value) {
  if (isPlain(value)) return null;
  const rows = Object.entries(value);
  if (!rows.length) return null;
  const names = Array.isArray(value) ? rows.map(([place]) => Number(place) + 1) : rows.map(([name]) => name);
  if (rows.every(([, row]) => isPlain(row))) return Array.isArray(value) && rows.length > MOST_ROWS ? null : [["", ""], rows.map(([, row], i) => [names[i], row])];
  if (rows.every(([, row]) => isObject(row) && Object.values(row).every(isPlain))) {
    const heads = [...new Set(rows.flatMap(([, row]) => Object.keys(row)))];
    return [["", ...heads], rows.map(([, row], i) => [names[i], ...heads.map((head) => (Object.hasOwn(row, head) ? row[head] : undefined))])];
  }
  if (rows.every(([, row]) => Array.isArray(row) && row.every(isPlain))) {
    const width = Math.max(...rows.map(([, row]) => row.length));
    return [["", ...Array.from({ length: width }, (_, i) => i + 1)], rows.map(([, row], i) => [names[i], ...row])];
  }
  return null;
}

function plainPart(name, value) {
  if (isPlain(value)) return element("p", { class: "note" }, element("bdi", {}, name), ": ", element("bdi", {}, shownValue(value).slice(0, LONGEST_TEXT)));
  const title = element("summary", {}, element("bdi", {}, name));
  const found = asTable(value);
  if (!found) {
    const text = JSON.stringify(value, null, 1);
    const cut = text.length > LONGEST_TEXT ? element("p", { class: "note" }, "Cut: the whole is in test_report.json.") : "";
    return element("details", { open: true }, title, element("pre", { class: "code", tabindex: "0" }, text.slice(0, LONGEST_TEXT)), cut);
  }
  const [heads, rows] = found;
  const cell = (v) => element("td", { class: typeof v === "number" ? "number" : "" }, element("bdi", {}, shownValue(v).slice(0, 500)));
  const body = rows.slice(0, MOST_ROWS).map(([first, ...cells]) => element("tr", {}, element("th", { scope: "row" }, element("bdi", {}, String(first))), ...cells.slice(0, MOST_CELLS).map(cell)));
  const head = heads.some((text) => text !== "") ? element("thead", {}, element("tr", {}, ...heads.slice(0, MOST_CELLS + 1).map((text) => element("th", { scope: "col" }, element("bdi", {}, String(text)))))) : "";
  const isCut = rows.length > MOST_ROWS || heads.length > MOST_CELLS + 1;
  return element("details", { open: true }, title,
    element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, element("table", {}, head, element("tbody", {}, ...body))),
    isCut ? element("p", { class: "note" }, `Cut to ${MOST_ROWS} rows and ${MOST_CELLS} columns: the whole is in test_report.json.`) : "");
}

function confusion({ classes, counts }) {
  const most = Math.max(1, ...counts.flat().map(Number));
  const cell = (count, right) => {
    const share = Number(count) / most;
    const made = element("td", { class: "number" }, String(count));
    made.style.background = right ? `rgb(34 136 51 / ${share * 0.6})` : `rgb(238 102 119 / ${share * 0.7})`;
    return made;
  };
  const rows = counts.map((row, i) => element("tr", {}, element("th", { scope: "row" }, element("bdi", {}, String(classes[i] ?? i))), ...row.map((count, j) => cell(count, i === j))));
  const head = element("tr", {}, element("th", {}, "true \\ predicted"), ...classes.map((name) => element("th", { scope: "col" }, element("bdi", {}, String(name)))));
  return element("div", { class: "scroll" }, element("table", { class: "confusion" }, element("caption", {}, "confusion matrix"), element("thead", {}, head), element("tbody", {}, ...rows)));
}

/* The targets that the report names, in a few windows, from the time of the forecast on; and their errors. */
function forecasts({ windows, targets, pictured, errors }) {
  const shown = (Array.isArray(pictured) ? pictured : targets.slice(0, 1)).filter((target) => targets.includes(target)).slice(0, 3);
  const found = shown.flatMap((target) => windows.slice(0, 4).map((window, k) => forecast(target, targets.indexOf(target), window, k)));
  if (found.length) found.unshift(legendOf([[styled("--ink"), "seen"], [PALETTE[2], "truth"], [PALETTE[1], "forecast"]]));
  for (const [target, of] of Object.entries(isObject(errors) ? errors : {})) found.push(plainPart(`errors of ${target}`, of));
  return found;
}

function forecast(target, place, window, k) {
  const column = (values) => (Array.isArray(values) ? values.map((row) => Number(row?.[place])) : []);
  const [seen, truth, guess] = [window.seen, window.truth, window.forecast].map(column);
  // More than a few horizons of the past would leave no room for the forecast.
  const past = seen.slice(-Math.max(4 * truth.length, 24));
  const line = (y, from, color, label) => ({ x: Float64Array.from(y, (_, i) => from + i), y: Float64Array.from(y), color, label });
  const plot = new Plot(`${target}, window ${k + 1}`, {
    lines: [
      line(past, 1 - past.length, styled("--ink"), "seen"),
      line([...past.slice(-1), ...truth], past.length ? 0 : 1, PALETTE[2], "truth"),
      line([...past.slice(-1), ...guess], past.length ? 0 : 1, PALETTE[1], "forecast"),
    ],
    xLabel: "steps from the forecast's start",
    height: 200,
  });
  return plot.element;
}
