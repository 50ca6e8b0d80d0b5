/* Two runs side by side: settings, code, metrics, and what their tests show. */
class PairView {
  constructor() {
    this.controls = element("div", { class: "controls" });
    this.body = element("div");
    this.element = element("section", { "aria-label": "two runs" }, this.controls, this.body);
  }

  chosen() {
    const given = state.pair.map((id) => RUN_OF_ID.get(id)).filter((i) => i !== undefined);
    const others = [...selected(), ...shownRuns, ...RUNS.keys()].filter((i) => !given.includes(i));
    return [...given, ...new Set(others)].slice(0, 2);
  }

  draw() {
    const pair = this.chosen();
    if (pair.length < 2) return void this.body.replaceChildren(element("p", { class: "note" }, "One run only: there is no other to put beside it."));
    const options = [...new Set([...pair, ...drawnRuns()])].map((i) => [RUNS[i].id, `${RUNS[i].name} · ${RUNS[i].id}`]);
    const pick = (place) => (id) => change({ pair: pair.map((i, k) => (k === place ? id : RUNS[i].id)) });
    this.controls.replaceChildren(choice("first", RUNS[pair[0]].id, options, pick(0)), choice("second", RUNS[pair[1]].id, options, pick(1)));
    this.body.replaceChildren(this.settings(pair), this.results(pair), this.curves(pair), this.code(pair), this.reports(pair));
    this.body.querySelectorAll("figure.plot").forEach((figure) => figure.plot?.draw());
  }

  twoColumns(title, rows, remark) {
    const head = element("tr", {}, element("th", {}), ...this.chosen().map((i) => element("th", { scope: "col" }, element("bdi", {}, RUNS[i].id))));
    const body = rows.map(([name, a, b]) => element("tr", { class: shownValue(a) === shownValue(b) ? "" : "differs" },
      element("th", { scope: "row" }, element("bdi", {}, name)), ...[a, b].map((v) => element("td", { class: typeof v === "number" ? "number" : "" }, element("bdi", {}, shownValue(v))))));
    return element("div", {}, element("h3", {}, title), remark ? element("p", { class: "note" }, remark) : "", rows.length ? element("div", { class: "scroll" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...body))) : "");
  }

  settings([a, b]) {
    const differ = FIELDS.filter((f) => ["settings", "other settings"].includes(f.group) && shownValue(f.value(a)) !== shownValue(f.value(b)));
    const same = Object.keys(DATA.shared).length;
    return this.twoColumns("Settings that differ", differ.map((f) => [f.label, f.value(a), f.value(b)]), differ.length ? `${same} others are the same in every run of this page.` : "These two have the same settings.");
  }

  results([a, b]) {
    const fields = FIELDS.filter((f) => ["results", "baselines", "values of the best epoch", "values of the final epoch"].includes(f.group) || ["state", "seconds", "parameters", "engine", "processes", "commit", "reason"].includes(f.key));
    const there = fields.filter((f) => f.value(a) !== undefined || f.value(b) !== undefined);
    return this.twoColumns("Results", there.map((f) => [f.label, f.value(a) ?? undefined, f.value(b) ?? undefined]));
  }

  curves(pair) {
    const metrics = DATA.metrics.filter((m) => pair.every((i) => CURVES[i].has(m)));
    const box = element("div", { class: "plots" });
    for (const metric of metrics.slice(0, MOST_METRICS)) {
      const plot = new Plot(metric, { lines: linesOf(pair, metric, (i) => PALETTE[pair.indexOf(i)]), logX: state.logX, logY: state.logY, xLabel: state.x });
      box.append(plot.element);
    }
    const note = metrics.length ? "" : element("p", { class: "note" }, "These two have no metric in common.");
    return element("div", {}, element("h3", {}, "Curves"), legendOf(pair.map((i, k) => [PALETTE[k], RUNS[i].id])), note, box);
  }

  code([a, b]) {
    const [first, second] = [a, b].map((i) => (DATA.codeOfRun[i] < 0 ? null : DATA.codes[DATA.codeOfRun[i]]));
    const head = element("h3", {}, "Code");
    if (first === null && second === null) return element("div", {}, head, element("p", { class: "note" }, "Neither was started from a git repository."));
    if (first === second) return element("div", {}, head, element("p", { class: "note" }, "The same commit and the same uncommitted changes."), codeBox(first.split("\n").map((line) => [" ", line])));
    return element("div", {}, head, element("p", { class: "note" }, "Commit and uncommitted changes: lines of the first run alone (−) and of the second alone (+)."), codeBox(lineDifference((first ?? "").split("\n"), (second ?? "").split("\n"))));
  }

  reports(pair) {
    const boxes = pair.map((i) => element("div", { class: "report" }, element("h4", {}, element("bdi", {}, RUNS[i].id)), ...reportElements(DATA.reports[i])));
    return element("div", {}, element("h3", {}, "What the test shows"), element("div", { class: "side-by-side" }, ...boxes));
  }
}

function codeBox(lines) {
  const signs = { " ": "", "-": "removed", "+": "added" };
  return element("pre", { class: "code", tabindex: "0" }, ...lines.slice(0, 3000).map(([sign, text]) => element("span", { class: signs[sign] }, `${sign === "-" ? "−" : sign} ${text}\n`)));
}

/* Lines of two texts: those in common, of the first alone, of the second alone. */
function lineDifference(a, b) {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const [x, y] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
  const same = (line) => [" ", line];
  const between = x.length * y.length > 4e6 ? [...x.map((l) => ["-", l]), ...y.map((l) => ["+", l])] : longestCommon(x, y);
  return [...a.slice(0, start).map(same), ...between, ...a.slice(a.length - end).map(same)];
}

function longestCommon(x, y) {
  const width = y.length + 1;
  const lengths = new Uint16Array((x.length + 1) * width);
  for (let i = x.length - 1; i >= 0; i--)
    for (let j = y.length - 1; j >= 0; j--)
      lengths[i * width + j] = x[i] === y[j] ? lengths[(i + 1) * width + j + 1] + 1 : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
  const found = [];
  let [i, j] = [0, 0];
  while (i < x.length || j < y.length) {
    if (i < x.length && j < y.length && x[i] === y[j]) found.push([" ", x[i]]), i++, j++;
    else if (j >= y.length || (i < x.length && lengths[(i + 1) * width + j] >= lengths[i * width + j + 1])) found.push(["-", x[i++]]);
    else found.push(["+", y[j++]]);
  }
  return found;
}

/* What a test report holds, as far as the page knows how to draw it; the rest as text. */
function reportElements(report) {
  if (!report) return [element("p", { class: "note" }, "No report: it was not tested.")];
  const found = [];
  for (const [name, value] of Object.entries(report)) {
    if (name === "confusion_matrix" && Array.isArray(value?.counts)) found.push(confusion(value));
    else if (name === "forecasts" && Array.isArray(value?.windows)) found.push(...forecasts(value));
    else if (typeof value === "string") found.push(element("p", { class: "note" }, value));
    else found.push(element("details", {}, element("summary", {}, name), element("pre", { class: "code" }, JSON.stringify(value, null, 1).slice(0, 20000))));
  }
  return found;
}

function confusion({ classes = [], counts }) {
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

function forecasts({ windows, targets = [] }) {
  return windows.slice(0, 4).map((window, k) => {
    const column = (values) => Float64Array.from(values ?? [], (row) => Number(row?.[0]));
    const [seen, truth, forecast] = [window.seen, window.truth, window.forecast].map(column);
    const steps = (count, from) => Float64Array.from({ length: count }, (_, i) => from + i);
    const plot = new Plot(`${targets[0] ?? "forecast"}, window ${k + 1}`, {
      lines: [
        { x: steps(seen.length, 0), y: seen, color: styled("--ink"), label: "seen" },
        { x: steps(truth.length, seen.length), y: truth, color: PALETTE[2], label: "truth" },
        { x: steps(forecast.length, seen.length), y: forecast, color: PALETTE[1], label: "forecast" },
      ],
      xLabel: "step",
      height: 200,
    });
    return plot.element;
  });
}
