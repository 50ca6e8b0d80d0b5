/* How results depend on settings: parallel coordinates to brush, a scatter plot, and importance. */
const MOST_AXES = 10;

function sweepFields(runs) {
  const usual = FIELDS.filter((f) => f.group === "settings" && f.key !== SEED && differs(f, runs)).slice(0, MOST_AXES - 1).map((f) => f.key);
  return [...(state.axes ?? usual), state.result].map((key) => FIELD.get(key)).filter(Boolean);
}

/* Where a value lies on an axis, from 0 to 1; numbers by size, the rest evenly. */
function axisOf(field, runs) {
  const values = runs.map((i) => field.value(i));
  const numbers = values.filter((v) => typeof v === "number" && Number.isFinite(v));
  const rest = [...new Set(values.filter((v) => v !== undefined && typeof v !== "number").map(shownValue))].sort(inOrder);
  if (numbers.length && rest.every((text) => text === "null")) {
    const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
    const isLog = low > 0 && high / low >= 50;
    const share = (v) => (high === low ? 0.5 : isLog ? Math.log(v / low) / Math.log(high / low) : (v - low) / (high - low));
    const different = [...new Set(numbers)];
    const marks = different.length <= 8 ? different : ticks(low, high, isLog);
    // null is no small number: it lies below all.
    const hasNull = rest.length > 0;
    const place = (v) => (typeof v === "number" ? (hasNull ? 0.12 + 0.88 * share(v) : share(v)) : v === null ? 0 : undefined);
    return { field, place, marks: [...(hasNull ? [[0, "null"]] : []), ...marks.map((v) => [place(v), shownNumber(v)])] };
  }
  const all = [...new Set([...rest, ...numbers.map(shownValue)])];
  const at = new Map(all.map((text, i) => [text, all.length === 1 ? 0.5 : i / (all.length - 1)]));
  return { field, place: (v) => (v === undefined ? undefined : at.get(shownValue(v))), marks: [...at].map(([text, y]) => [y, text]) };
}

class SweepsView {
  constructor() {
    this.controls = element("div", { class: "controls" });
    this.parallel = element("div", { class: "parallel" });
    this.scatter = element("div", { class: "plots" });
    this.importance = element("div");
    this.element = element("section", { "aria-label": "sweeps" }, this.controls, this.parallel, this.scatter, this.importance);
  }

  draw() {
    const results = FIELDS.filter((f) => f.number && f.group !== "settings" && f.group !== "other settings");
    const settings = FIELDS.filter((f) => ["settings", "other settings"].includes(f.group));
    const compared = comparable(drawnRuns(), FIELD.get(state.result));
    this.runs = compared.members;
    this.remark = compared.remark;
    const current = new Set(sweepFields(this.runs).map((f) => f.key));
    const pick = (key, on) => change({ axes: settings.map((f) => f.key).filter((k) => (k === key ? on : current.has(k))), brushes: {} });
    this.controls.replaceChildren(
      element("details", { class: "menu" }, element("summary", {}, "axes"), element("div", {}, button("usual axes", () => change({ axes: null, brushes: {} })), element("fieldset", {}, ...settings.map((f) => tick(f.label, current.has(f.key), (on) => pick(f.key, on)))))),
      choice("result", state.result, results.map((f) => [f.key, f.label]), (key) => change({ result: key ?? "best", brushes: {} })),
      kindChoice(compared),
      choice("scatter", state.scatterX, [[null, "first axis"], ...FIELDS.filter((f) => f.group !== "run" || f.number).map((f) => [f.key, f.label])], (scatterX) => change({ scatterX })),
      choice("against", state.scatterY, results.map((f) => [f.key, f.label]), (key) => change({ scatterY: key ?? "best" })),
      tick("log x", state.logX, (logX) => change({ logX })), tick("log y", state.logY, (logY) => change({ logY })),
      Object.keys(state.brushes).length ? button("clear brushes", () => change({ brushes: {} })) : "",
      Object.keys(state.brushes).length ? button("select these runs", () => change({ selected: this.brushed().map((i) => RUNS[i].id) })) : "",
    );
    this.axes = sweepFields(this.runs).map((field) => axisOf(field, this.runs));
    this.drawParallel();
    this.drawScatter();
    this.drawImportance();
  }

  brushed() {
    return this.runs.filter((i) => this.axes.every(({ field, place }) => {
      const range = state.brushes[field.key];
      const at = place(field.value(i));
      return !range || (at !== undefined && at >= range[0] && at <= range[1]);
    }));
  }

  drawParallel() {
    if (this.axes.length < 2 || !this.runs.length) {
      this.parallel.replaceChildren(element("p", { class: "note" }, "Parallel coordinates take two settings or more that differ, and runs with a result."));
      return;
    }
    const width = Math.max(this.parallel.clientWidth || 800, 110 * this.axes.length);
    const [height, top, bottom, side] = [320, 34, 16, 70];
    const x = (k) => side + (k * (width - 2 * side)) / (this.axes.length - 1);
    const y = (share) => height - bottom - share * (height - top - bottom);
    const svg = svgElement("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "parallel coordinates" });
    const result = this.axes.at(-1);
    const kept = new Set(this.brushed());
    const larger = isLarger(result.field.key, this.runs);
    for (const isKept of [false, true])
      for (const i of this.runs) {
        if (kept.has(i) !== isKept) continue;
        const points = this.axes.map(({ field, place }, k) => [x(k), place(field.value(i))]).filter(([, at]) => at !== undefined).map(([px, at]) => `${px.toFixed(1)},${y(at).toFixed(1)}`);
        const share = result.place(result.field.value(i)) ?? 0;
        const line = svgElement("polyline", { points: points.join(" "), fill: "none", stroke: isKept ? gradient(larger ? share : 1 - share) : "#888888", "stroke-opacity": isKept ? 0.75 : 0.1, "stroke-width": 1.5 });
        const name = svgElement("title");
        name.textContent = `${RUNS[i].id}: ${result.field.label} ${shownValue(result.field.value(i))}`;
        line.append(name);
        svg.append(line);
      }
    this.axes.forEach((axis, k) => svg.append(this.axisElement(axis, x(k), y, top, height - bottom)));
    const saveIt = button("SVG", () => save("parallel.svg", new XMLSerializer().serializeToString(Object.assign(svg.cloneNode(true), {})), "image/svg+xml"));
    this.parallel.replaceChildren(element("p", { class: "note" }, `${kept.size} of ${this.runs.length} runs; drag along an axis to keep a part of it, click it to clear.${this.remark} `, saveIt), svg);
  }

  axisElement({ field, marks }, px, y, top, bottom) {
    const group = svgElement("g");
    const text = (content, attributes) => {
      // With a border in the color of the page, so that it can be read over lines.
      const border = { stroke: styled("--paper"), "stroke-width": 3, "paint-order": "stroke" };
      const made = svgElement("text", { fill: styled("--ink"), "font-size": 11, "font-family": "system-ui, sans-serif", ...border, ...attributes });
      made.textContent = content.length > 16 ? `${content.slice(0, 15)}…` : content;
      const whole = svgElement("title");
      whole.textContent = content;
      made.append(whole);
      return made;
    };
    group.append(text(field.label, { x: px, y: 14, "text-anchor": "middle", "font-weight": "bold" }), svgElement("line", { x1: px, x2: px, y1: top, y2: bottom, stroke: styled("--ink") }));
    for (const [share, mark] of marks.slice(0, 24)) group.append(text(mark, { x: px + 5, y: y(share) + 4 }));
    const range = state.brushes[field.key];
    if (range) group.append(svgElement("rect", { x: px - 7, width: 14, y: y(range[1]), height: Math.max(2, y(range[0]) - y(range[1])), fill: "#4477aa", "fill-opacity": 0.35 }));
    const handle = svgElement("rect", { x: px - 12, width: 24, y: top - 6, height: bottom - top + 12, fill: "transparent", class: "handle" });
    handle.addEventListener("pointerdown", (event) => this.brush(event, handle, field.key, y, top, bottom));
    group.append(handle);
    return group;
  }

  brush(event, handle, key, y, top, bottom) {
    const box = handle.ownerSVGElement.getBoundingClientRect();
    const share = (e) => Math.min(1, Math.max(0, (bottom - (e.clientY - box.top)) / (bottom - top)));
    const from = share(event);
    handle.setPointerCapture(event.pointerId);
    handle.addEventListener("pointerup", (end) => {
      const to = share(end);
      const brushes = { ...state.brushes };
      if (Math.abs(to - from) < 0.01) delete brushes[key];
      else brushes[key] = [Math.min(from, to) - 0.005, Math.max(from, to) + 0.005];
      change({ brushes });
    }, { once: true });
  }

  drawScatter() {
    const xField = FIELD.get(state.scatterX) ?? this.axes[0]?.field;
    const yField = FIELD.get(state.scatterY) ?? FIELD.get(state.result);
    if (!xField || !yField) return void this.scatter.replaceChildren();
    const runs = this.brushed();
    const color = colors(runs);
    const isNumber = xField.number;
    const there = runs.filter((i) => typeof yField.value(i) === "number" && (isNumber ? typeof xField.value(i) === "number" : xField.value(i) !== undefined));
    const names = isNumber ? null : [...new Set(there.map((i) => shownValue(xField.value(i))))].sort(inOrder);
    const x = (i) => (isNumber ? xField.value(i) : names.indexOf(shownValue(xField.value(i))));
    const dots = there.map((i) => ({ x: x(i), y: yField.value(i), color: color.of(i), label: RUNS[i].id }));
    const plot = new Plot(`${yField.label} against ${xField.label}`, { dots, names, logX: state.logX && isNumber, logY: state.logY, xLabel: xField.label, height: 340 });
    showPlots(this.scatter, [plot]);
  }

  /* How much of the results' variance each setting explains alone: between the groups of its values, of all. */
  drawImportance() {
    const result = FIELD.get(state.result);
    const rows = this.axes.slice(0, -1).map(({ field }) => [field.label, explained(field, result, this.runs)]).filter(([, share]) => share !== null).sort((a, b) => b[1] - a[1]);
    if (!rows.length) return void this.importance.replaceChildren();
    const bars = rows.map(([name, share]) => {
      const bar = element("span", { class: "bar" });
      bar.style.width = `${Math.round(share * 240)}px`;
      return element("tr", {}, element("td", {}, element("bdi", {}, name)), element("td", {}, bar, ` ${Math.round(share * 100)} %`));
    });
    this.importance.replaceChildren(element("h3", {}, `What explains ${result.label}`),
      element("p", { class: "note" }, "The share of the variance between runs that the values of one setting explain by themselves (analysis of variance, corrected for their number). Settings that were not tried in all combinations may stand for one another."),
      element("table", {}, element("tbody", {}, ...bars)));
  }
}

/* ω²: the share of variance between the groups of a setting's values, less what chance gives so many groups. */
function explained(field, result, runs) {
  const values = runs.map((i) => result.value(i));
  let groups = [...groupedBy(runs, (i) => shownValue(field.value(i))).values()];
  if (field.number && groups.length > 8) groups = quarters(field, runs);
  if (groups.length < 2 || runs.length <= groups.length) return null;
  const middle = mean(values);
  const total = values.reduce((sum, v) => sum + (v - middle) ** 2, 0);
  if (total === 0) return null;
  const between = groups.reduce((sum, g) => sum + g.length * (mean(g.map((i) => result.value(i))) - middle) ** 2, 0);
  const noise = (total - between) / (runs.length - groups.length);
  return Math.max(0, (between - (groups.length - 1) * noise) / (total + noise));
}

/* Runs by a number that takes many values: the lowest quarter, the next, and so on. */
function quarters(field, runs) {
  const sorted = runs.filter((i) => typeof field.value(i) === "number").sort((a, b) => field.value(a) - field.value(b));
  const size = Math.ceil(sorted.length / 4);
  return [0, 1, 2, 3].map((k) => sorted.slice(k * size, (k + 1) * size)).filter((g) => g.length);
}
