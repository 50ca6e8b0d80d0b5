/* Runs that differ by nothing but the seed, as one: mean, spread, and which cannot be told apart from the best. */
const SEED = "seed";
/* More rows are in the CSV file alone. */
const MOST_GROUPS = 300;

/* Settings that make a group: those chosen, else all that differ between the runs but the seed. */
function groupingFields(runs) {
  if (state.by) return state.by.map((key) => FIELD.get(key)).filter(Boolean);
  return FIELDS.filter((f) => f.group === "settings" && f.key !== SEED && differs(f, runs));
}

function groupsOf(runs, result) {
  const by = groupingFields(runs);
  const made = new Map();
  for (const i of runs) {
    const texts = by.map((f) => shownValue(f.value(i)));
    const key = JSON.stringify(texts);
    if (!made.has(key)) made.set(key, { texts, values: [], runs: [], bySeed: new Map() });
    const group = made.get(key);
    group.runs.push(i);
    const value = result.value(i);
    if (typeof value !== "number") continue;
    group.values.push(value);
    const seed = FIELD.get(SEED)?.value(i) ?? DATA.shared[SEED];
    // A seed that comes twice is no pair: nobody could say which of the two it is.
    if (seed !== undefined) group.bySeed.set(seed, group.bySeed.has(seed) ? null : value);
  }
  for (const group of made.values()) for (const [seed, value] of group.bySeed) if (value === null) group.bySeed.delete(seed);
  return [...made.values()];
}

/* Groups with their results, the best first, each compared with the best. */
function rankedGroups(runs, result, largerIsBetter) {
  const groups = groupsOf(runs, result).filter((g) => g.values.length);
  for (const g of groups) {
    g.mean = mean(g.values);
    g.error = g.values.length > 1 ? deviation(g.values) / Math.sqrt(g.values.length) : null;
  }
  groups.sort((a, b) => (largerIsBetter ? b.mean - a.mean : a.mean - b.mean));
  const [best, ...others] = groups;
  for (const g of others) g.test = difference(g, best);
  const tested = others.filter((g) => g.test);
  const corrected = holm(tested.map((g) => g.test.p));
  tested.forEach((g, i) => (g.p = corrected[i]));
  return groups;
}

class GroupsView {
  constructor() {
    this.controls = element("div", { class: "controls" });
    this.verdict = element("p", { class: "note" });
    this.table = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "groups" });
    this.plots = element("div", { class: "plots" });
    this.element = element("section", { "aria-label": "groups" }, this.controls, this.verdict, this.table, this.plots);
  }

  draw() {
    const results = FIELDS.filter((f) => f.number && ["results", "values of the best epoch", "values of the final epoch"].includes(f.group) && !["epoch", "epochs"].includes(f.key));
    const result = FIELD.get(state.result) ?? results[0];
    const settings = FIELDS.filter((f) => ["settings", "other settings"].includes(f.group));
    const runs = drawnRuns();
    const compared = comparable(runs, result);
    const by = groupingFields(compared.members);
    const keys = new Set(by.map((f) => f.key));
    const pick = (key, on) => change({ by: settings.map((f) => f.key).filter((k) => (k === key ? on : keys.has(k))) });
    const menu = element("details", { class: "menu" }, element("summary", {}, "grouped by"),
      element("div", {}, button("all but the seed", () => change({ by: null })), element("fieldset", {}, ...settings.map((f) => tick(f.label, keys.has(f.key), (on) => pick(f.key, on))))));
    this.controls.replaceChildren(menu,
      choice("result", result?.key, results.map((f) => [f.key, f.label]), (key) => change({ result: key ?? "best" })),
      kindChoice(compared),
      choice("band", state.band, [["error", "standard error"], ["range", "least to largest"]], (band) => change({ band: band ?? "error" })),
      button("CSV", () => save("groups.csv", this.csv, "text/csv")));
    if (!result) {
      this.verdict.textContent = "No run has a result yet.";
      this.table.replaceChildren();
      this.plots.replaceChildren();
      return;
    }
    const larger = isLarger(result.key, compared.members);
    const groups = rankedGroups(compared.members, result, larger);
    this.verdict.textContent = `${this.says(groups, larger, runs.length - compared.kinds.reduce((sum, [, of]) => sum + of.length, 0))}${compared.remark}`;
    if (groups.length > MOST_GROUPS) this.verdict.append(` The first ${MOST_GROUPS} of ${groups.length} groups are shown; the CSV file has all.`);
    const heads = [...by.map((f) => f.label), "n", result.label, "standard error", "least", "largest", "difference from the best", "95 % interval", "effect size", "p (Holm)"];
    const rows = groups.map((g) => [
      ...g.texts, g.values.length, g.mean, g.error ?? undefined, Math.min(...g.values), Math.max(...g.values),
      g.test?.difference, g.test ? `${shownNumber(g.test.low)} to ${shownNumber(g.test.high)}` : undefined,
      g.test && Number.isFinite(g.test.effect) ? g.test.effect : undefined, g.p,
    ]);
    this.csv = [heads, ...rows].map((cells) => cells.map(csvCell).join(",")).join("\n") + "\n";
    const body = rows.slice(0, MOST_GROUPS).map((cells, i) => element("tr", { class: i === 0 ? "best" : groups[i].p >= LEVEL ? "tied" : "", title: groups[i].test?.how },
      element("td", {}, markOf(i)), ...cells.map((v) => element("td", { class: typeof v === "number" ? "number" : "" }, element("bdi", {}, shownValue(v))))));
    this.table.replaceChildren(element("table", {}, element("thead", {}, element("tr", {}, element("th", { "aria-label": "color of its curve" }), ...heads.map((h, place) => element("th", { scope: "col", class: place < by.length ? "" : "number" }, element("bdi", {}, h))))), element("tbody", {}, ...body)));
    const metrics = state.metric ? [state.metric] : DATA.metrics.filter((m) => m.startsWith("val/") && compared.members.some((i) => CURVES[i].has(m))).slice(0, 4);
    showPlots(this.plots, metrics.map((metric) => this.plot(metric, groups)));
  }

  says(groups, larger, missing) {
    const left = missing ? ` ${missing} ${missing === 1 ? "run has" : "runs have"} no such result and ${missing === 1 ? "is" : "are"} left out.` : "";
    if (groups.length < 2) return `One group; the ${larger ? "larger" : "smaller"} value is the better one.${left}`;
    const tested = groups.filter((g) => g.test);
    if (!tested.length) return `The ${larger ? "largest" : "smallest"} mean comes first. Fewer than ${FEWEST_PAIRS} runs of a group: what looks better may be chance.${left}`;
    const tied = tested.filter((g) => g.p >= LEVEL).length;
    const untested = groups.length - 1 - tested.length;
    const rest = untested ? ` ${untested} could not be compared: fewer than ${FEWEST_PAIRS} runs.` : "";
    const verdict = tied ? `${tied} of ${tested.length} cannot be told apart from the best` : `The best is better than ${untested ? "those it could be compared with" : "every other"}`;
    return `${verdict} (${tested[0].test.how}, Holm's correction, level ${LEVEL}).${rest}${left}`;
  }

  /* The mean curve of each group with its band, over the points that all its runs have. */
  plot(metric, groups) {
    const lines = [];
    const bands = [];
    groups.slice(0, PALETTE.length).forEach((group, place) => {
      const curves = group.runs.map((i) => CURVES[i].get(metric)).filter((curve) => curve && isMeasured(curve));
      if (!curves.length) return;
      const x = curves.map((c) => c[state.x]).reduce((a, b) => (b.length < a.length ? b : a));
      const columns = curves.map((c) => (isAlike(c[state.x], x) ? c.values : Float64Array.from(x, (value) => valueAt(c[state.x], c.values, value))));
      const at = Array.from(x, (_, i) => columns.map((column) => column[i]).filter((v) => !Number.isNaN(v)));
      const color = PALETTE[place];
      lines.push({ x, y: Float64Array.from(at, (v) => (v.length ? mean(v) : NaN)), color, label: group.texts.join(" · ") || "all" });
      if (curves.length < 2) return;
      const spread = (v) => (v.length > 1 ? deviation(v) / Math.sqrt(v.length) : 0);
      const range = state.band === "range";
      const low = Float64Array.from(at, (v) => (v.length ? (range ? Math.min(...v) : mean(v) - spread(v)) : NaN));
      const high = Float64Array.from(at, (v) => (v.length ? (range ? Math.max(...v) : mean(v) + spread(v)) : NaN));
      const there = [...x.keys()].filter((i) => !Number.isNaN(low[i]));
      bands.push({ x: there.map((i) => x[i]), low: there.map((i) => low[i]), high: there.map((i) => high[i]), color });
    });
    return new Plot(`${metric}: mean of each group`, { lines, bands, logX: state.logX, logY: state.logY, xLabel: state.x, zoom: state.zoom?.[metric] ?? null, onzoom: (zoom) => zoomTo(metric, zoom) });
  }
}

/* The color in which a group is drawn; the first ones are. */
function markOf(place) {
  if (place >= PALETTE.length) return "";
  const mark = element("span", { class: "mark" });
  mark.style.background = PALETTE[place];
  return mark;
}

function isAlike(a, b) {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

/* A curve's value at an x between its points; NaN outside of them. */
function valueAt(x, y, value) {
  if (!x.length || value < x[0] || value > x[x.length - 1]) return NaN;
  const i = placeOf(x, value);
  if (x[i] === value || i + 1 >= x.length) return y[i];
  return y[i] + ((y[i + 1] - y[i]) * (value - x[i])) / (x[i + 1] - x[i]);
}
