/* The curves of the selected runs, or of all that the filter lets through. */
const MOST_FACETS = 12;
const MOST_METRICS = 8;
/* More lines would take seconds to draw, and nobody could tell them apart. */
const MOST_LINES = 1000;
let CURVES = RUNS.map(() => new Map());

function drawnRuns() {
  const chosen = selected();
  const runs = shownRuns.filter((i) => chosen.has(i));
  return runs.length ? runs : shownRuns;
}

/* A color for each run, and what the colors mean. */
function colors(runs) {
  const field = FIELD.get(state.color);
  if (!field || state.color === "run") return { of: (i) => PALETTE[i % PALETTE.length], legend: [] };
  const values = [...new Map(runs.map((i) => [shownValue(field.value(i)), field.value(i)]))];
  const numbers = values.map(([, v]) => v).filter((v) => typeof v === "number");
  if (field.number && numbers.length > 6) {
    const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
    const isLog = low > 0 && high / low > 100;
    const share = (v) => (isLog ? Math.log(v / low) / Math.log(high / low) : (v - low) / (high - low || 1));
    const of = (i) => (typeof field.value(i) === "number" ? gradient(share(field.value(i))) : "#888888");
    return { of, legend: [[gradient(0), shownNumber(low)], [gradient(0.5), "…"], [gradient(1), shownNumber(high)]] };
  }
  values.sort(([, a], [, b]) => (typeof a === "number" && typeof b === "number" ? a - b : 0));
  const place = new Map(values.map(([text], i) => [text, PALETTE[i % PALETTE.length]]));
  return { of: (i) => place.get(shownValue(field.value(i))), legend: values.map(([text]) => [place.get(text), text === "" ? "(none)" : text]) };
}

function legendOf(entries) {
  return element("p", { class: "legend" }, ...entries.slice(0, 40).map(([color, text]) => {
    const mark = element("span", { class: "mark" });
    mark.style.background = color;
    return element("span", { class: "entry" }, mark, element("bdi", {}, text));
  }));
}

/* Whether a curve has the x that is asked for: of runs of an earlier version nobody wrote the time. */
function isMeasured(curve) {
  return state.x !== "seconds" || curve.seconds.at(-1) > 0;
}

function linesOf(runs, metric, color) {
  const lines = [];
  for (const i of runs) {
    const curve = CURVES[i].get(metric);
    if (!curve || !isMeasured(curve)) continue;
    const shown = { x: curve[state.x], color: color(i), label: RUNS[i].id, run: i };
    if (state.smooth) lines.push({ ...shown, y: curve.values, raw: true });
    lines.push({ ...shown, y: smoothed(curve.values, state.smooth) });
  }
  return lines;
}

class CurvesView {
  constructor() {
    this.controls = element("div", { class: "controls" });
    this.note = element("p", { class: "note" });
    this.legend = element("div");
    this.plots = element("div", { class: "plots" });
    this.element = element("section", { "aria-label": "curves" }, this.controls, this.note, this.legend, this.plots);
  }

  draw() {
    const settings = FIELDS.filter((f) => ["settings", "other settings"].includes(f.group) || f.key === "state");
    const smooth = element("input", { type: "range", min: "0", max: "0.99", step: "0.01", value: String(state.smooth), oninput: () => (weight.textContent = smooth.value), onchange: () => change({ smooth: Number(smooth.value) }) });
    const weight = element("span", {}, String(state.smooth));
    this.controls.replaceChildren(
      choice("metric", state.metric, [[null, "all"], ...DATA.metrics.map((m) => [m, m])], (metric) => change({ metric, zoom: null })),
      choice("by", state.x, [["epoch", "epoch"], ["step", "step"], ["seconds", "seconds of training"]], (x) => change({ x: x ?? "epoch", zoom: null })),
      tick("log x", state.logX, (logX) => change({ logX, zoom: null })),
      tick("log y", state.logY, (logY) => change({ logY })),
      element("label", { class: "control" }, "smooth ", smooth, " ", weight),
      choice("color", state.color, [["run", "run"], ...settings.map((f) => [f.key, f.label])], (color) => change({ color: color ?? "run" })),
      choice("a plot for each", state.facet, [[null, "—"], ...settings.map((f) => [f.key, f.label])], (facet) => change({ facet })),
      state.facet ? tick("same axes", state.sameAxes, (sameAxes) => change({ sameAxes })) : "",
      state.zoom ? button("whole range", () => change({ zoom: null })) : "",
    );
    const all = drawnRuns();
    const runs = all.slice(0, MOST_LINES);
    const color = colors(runs);
    this.legend.replaceChildren(legendOf(color.legend));
    const there = DATA.metrics.filter((m) => runs.some((i) => CURVES[i].has(m)));
    const metrics = state.metric ? [state.metric] : there.slice(0, MOST_METRICS);
    const facet = FIELD.get(state.facet);
    const values = facet ? [...groupedBy(runs, (i) => shownValue(facet.value(i)) || "(none)")].sort(([a], [b]) => inOrder(a, b)) : [["", runs]];
    const plots = [];
    const isMixed = new Set(runs.map((i) => RUNS[i].task)).size > 1;
    for (const metric of metrics)
      // What two tasks call by one name, such as their loss, has no axis in common.
      for (const [task, ofTask] of groupedBy(runs.filter((i) => CURVES[i].has(metric)), (i) => (isMixed ? RUNS[i].task : ""))) {
        const name = task ? `${metric} · ${task}` : metric;
        const among = new Set(ofTask);
        const parts = values.map(([value, members]) => [value, members.filter((i) => among.has(i))]).filter(([, members]) => members.length);
        const small = parts.slice(0, MOST_FACETS).map(([value, members]) => this.plot(metric, name, facet ? `${name} · ${facet.label} ${value}` : name, members, color));
        if (facet && state.sameAxes) shareAxes(small);
        plots.push(...small);
      }
    if (plots.length === 1) plots[0].grow(420);
    this.note.textContent = plots.length ? this.remark(runs, all.length, state.metric ? 0 : there.length - metrics.length) : "No curves: none of these runs has finished an epoch.";
    showPlots(this.plots, plots);
  }

  plot(metric, name, title, runs, color) {
    return new Plot(title, {
      lines: linesOf(runs, metric, color.of),
      logX: state.logX,
      logY: state.logY,
      xLabel: state.x,
      zoom: state.zoom?.[name] ?? null,
      onzoom: (zoom) => zoomTo(name, zoom),
    });
  }

  remark(runs, all, metricsLeft) {
    const untimed = state.x === "seconds" ? runs.filter((i) => CURVES[i].size && ![...CURVES[i].values()].some(isMeasured)).length : 0;
    const left = untimed ? ` ${untimed} of them ${untimed === 1 ? "was" : "were"} made by a version that kept no times, and ${untimed === 1 ? "is" : "are"} left out.` : "";
    const first = all > runs.length ? ` These are the first of ${all} in the table's order: sort, filter or select to see others.` : "";
    const lines = `${runs.length} ${runs.length === 1 ? "run" : "runs"}; drag over a plot to zoom in, double-click it to see all again.${first}${left}${metricsLeft ? ` ${metricsLeft} more metrics: choose one above.` : ""}`;
    return DATA.sampled ? `${lines} Long curves are drawn by the least and largest value of each stretch.` : lines;
  }
}
