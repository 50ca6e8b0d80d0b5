/* Where memory is cut, what is written into it, and how long it lasts. */

/* The array of a kind that is looked at: a cell with several states has one for each. */
function chosenOfKind(m, kind) {
  const arrays = arraysOfKind(m, kind);
  return arrays.find((array) => array.name === state.kept) ?? arrays[0] ?? null;
}

function stateControl(kind) {
  const several = MODELS.map((_, m) => arraysOfKind(m, kind)).filter((arrays) => arrays.length > 1);
  if (!several.length) return [];
  const names = [...new Set(several.flat().map((array) => array.name))];
  return [choice("state", state.kept ?? names[0], names.map((name) => [name, visible(name, 30)]), (kept) => change({ kept }))];
}

/* A line over the steps, and the mark of the chosen one behind it. */
function stepPlot(m, title, lines, bands = [], { logY = false, height = 200 } = {}) {
  const values = [...lines.flatMap((line) => [...line.y]), ...bands.flatMap((band) => [...band.low, ...band.high])].filter((v) => Number.isFinite(v) && (!logY || v > 0));
  const range = values.length ? [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))] : [0, 1];
  const isThere = state.step >= 0 && state.step < MODELS[m].steps;
  const mark = isThere ? [{ x: [state.step, state.step], y: range, color: styled("--ink"), label: "", raw: true }] : [];
  return new Plot(title, { lines: [...mark, ...lines], bands, logY, height, xLabel: "step", nameOf: (step) => stepName(m, step), zoom: state.zoom?.[title] ?? null, onzoom: (zoom) => zoomTo(title, zoom) });
}

const stepsOf = (m) => Float64Array.from({ length: MODELS[m].steps }, (_, t) => t);

/* What views of one array of one layer and direction share. */
class GroupView extends View {
  constructor(kind, ...names) {
    super(...names);
    this.kind = kind;
    this.followsUnit = true;
  }

  needs() {
    return MODELS.flatMap((_, m) => (chosenOfKind(m, this.kind) ? [[m, chosenOfKind(m, this.kind).name, ...besideGroup(m, ...firstGroup())]] : []));
  }

  key() {
    return super.key() + firstGroup();
  }

  controls() {
    return MODELS.some((_, m) => chosenOfKind(m, this.kind)) ? [...groupControls(false), ...stateControl(this.kind), unitControl(this), ...mapControls(this)] : [];
  }

  /* An array with its values and units, as the first model's layer and direction ask for it. */
  subject(m) {
    const array = chosenOfKind(m, this.kind);
    if (!array) return null;
    const [layer, direction] = besideGroup(m, ...firstGroup());
    const values = valuesOf(m, array.name, layer, direction);
    return { array, layer, direction, values, ...unitsOf(m, values, layer, direction), where: groupName(m, layer, direction) };
  }

  /* What the colors of the lines mean. */
  lineLegend(m) {
    const { unit } = chosenUnit(m);
    return legend([[PALETTE[0], "mean of all units"], ...(unit === null ? [] : [[PALETTE[1], `unit ${unit}`]])]);
  }

  /* The mean over units as a line, and the chosen unit's beside it. */
  lines(m, subject, values, ofUnit = (v) => v) {
    const { steps } = MODELS[m];
    const place = subject.numbers.indexOf(chosenUnit(m).unit);
    const all = { x: stepsOf(m), y: perStep(values, steps, (row) => meanOf(row.map(ofUnit))), color: PALETTE[0], label: "mean of all units" };
    return [all, ...(place >= 0 ? [{ x: stepsOf(m), y: unitValues(values, steps, place).map(ofUnit), color: PALETTE[1], label: `unit ${subject.numbers[place]}` }] : [])];
  }
}

class CutView extends GroupView {
  constructor() {
    super("kept", "cut", "Where is memory cut?", "Which share of the old state each step carries over directly: 1 keeps all of it, 0 cuts it. From the step you mark, the product of these shares says what is left of its memory later, and what it still holds of earlier steps.");
  }

  column(m) {
    const subject = this.subject(m);
    if (!subject) return [note(`The ${visible(MODELS[m].cell, 40)} has no share that is kept: by its equations nothing of the old state is carried over directly, only through its weights. See “Gradient” for what reaches over distance.`)];
    const { array, layer, direction, values, where } = subject;
    const { steps } = MODELS[m];
    const means = perStep(values, steps, meanOf);
    const cut = means.indexOf([...means].filter((v) => !Number.isNaN(v)).reduce((a, b) => Math.min(a, b), Infinity));
    const at = () => (state.step >= 0 ? inside(state.step, steps) : Math.max(0, cut));
    const title = `what is left · ${visible(array.name, 30)}${where ? ` · ${where}` : ""}`;
    let remaining = left(values, steps, at(), direction);
    // What is carried over may have a sign, or be more than all, in a cell whose equations do not bound it.
    const scale = array.scale[2] === "share" ? array.scale : symmetric(remaining);
    const settings = { m, title, about: "before the marked step and after it", values: remaining, scale, numbers: subject.numbers, rows: subject.rows, layer, direction };
    this.marks.push(() => map.show((remaining = left(values, steps, at(), direction))));
    const map = this.map(settings);
    return [
      ribbon(this, m, { values: means, scale: array.scale, title: `mean share kept${where ? `, ${where}` : ""}` }),
      this.live(() => [this.lineLegend(m)]),
      this.plots(() => [stepPlot(m, `share kept at each step · ${MODELS[m].name}`, this.lines(m, subject, values))], true),
      this.live(() => [this.account(m, at(), remaining, direction)]),
      this.plots(() => [this.leftPlot(m, subject, remaining)], true),
      map.element,
    ];
  }

  leftPlot(m, subject, remaining) {
    const { steps } = MODELS[m];
    const [low, high] = [0.25, 0.75].map((share) => perStep(remaining, steps, (row) => quantile(row, share)));
    return stepPlot(m, `what is left · ${MODELS[m].name}`, this.lines(m, subject, remaining), [{ x: stepsOf(m), low, high, color: PALETTE[0] }]);
  }

  account(m, at, remaining, direction) {
    const { steps } = MODELS[m];
    const means = perStep(remaining, steps, meanOf);
    const percent = (t) => (Math.round(means[t] * 100) || !means[t] ? `${Math.round(means[t] * 100)} %` : "less than 1 %");
    const start = direction ? steps - 1 : 0;
    const end = direction ? 0 : steps - 1;
    const marked = state.step < 0 ? " (no step is marked: here most is cut)" : "";
    const before = at === start ? "" : ` Of what was there after the first step read, ${percent(start)} is left at this one.`;
    const after = at === end ? "" : ` Of what is there now, ${percent(end)} is left at the end.`;
    return note(element("b", {}, `Step ${stepName(m, at)}`), `${marked}.${before}${after} Means of all units; the band is their middle half. Products of values rounded to 1/254: of many steps only the size is exact.`);
  }
}

class WrittenView extends GroupView {
  constructor() {
    super("written", "written", "What is written?", "What each step adds to the state beside what is kept of it: its size, over all units and for the marked one. Large values are steps that the network takes note of.");
  }

  column(m) {
    const subject = this.subject(m);
    if (!subject) return [note(`The ${visible(MODELS[m].cell, 40)} writes its whole state anew at each step: see its state under “Gates”.`)];
    const { array, layer, direction, values, where, numbers, rows } = subject;
    const sizes = perStep(values, MODELS[m].steps, (row) => meanOf(row.map(Math.abs)));
    const most = [...sizes].filter((v) => !Number.isNaN(v)).reduce((a, b) => Math.max(a, b), 0);
    return [
      ribbon(this, m, { values: sizes, scale: [0, most || 1, "share"], title: `mean size of what is written${where ? `, ${where}` : ""}` }),
      this.live(() => [this.lineLegend(m)]),
      this.plots(() => [stepPlot(m, `size of what is written · ${MODELS[m].name}`, this.lines(m, subject, values, Math.abs))], true),
      this.map({ m, title: `${visible(array.name, 30)}${where ? ` · ${where}` : ""}`, about: visible(array.meaning, 80), values, scale: array.scale, numbers, rows, layer, direction }).element,
    ];
  }
}

const LONGEST = 12;

class RememberView extends View {
  constructor() {
    super("remember", "How long does it remember?", "For each unit, after how many steps less than half of its state is left: the median over all steps of this input as starts, with the quartiles as a band. Units are sorted, each layer by itself.");
    this.followsUnit = true;
  }

  column(m) {
    const { memory, steps, cell } = MODELS[m];
    if (!memory) return [note(`The ${visible(cell, 40)} keeps no share of its state directly: how long it remembers is seen under “Gradient” only.`)];
    return allGroups(m).filter(([layer, direction]) => memory.half[layer]?.[direction]).flatMap(([layer, direction]) => {
      const half = memory.half[layer][direction];
      const numbers = MODELS[m].units[layer][direction].numbers;
      const units = half.median.map((median, place) => ({ unit: numbers[place] ?? place, median: median ?? Infinity, low: half.low[place] ?? Infinity, high: half.high[place] ?? Infinity })).sort((a, b) => a.median - b.median);
      const where = groupName(m, layer, direction);
      return [
        this.plots(() => [this.plot(m, layer, direction, units, `state ${visible(memory.state, 20)}${where ? ` · ${where}` : ""} · ${MODELS[m].name}`)], true),
        note(...this.account(m, layer, direction, units, steps)),
      ];
    });
  }

  plot(m, layer, direction, units, title) {
    const { steps } = MODELS[m];
    const drawn = (lag) => Math.min(lag, steps);
    const chosen = chosenUnit(m);
    const isChosen = ({ unit }) => unit === chosen.unit && layer === chosen.layer && direction === chosen.direction;
    const x = Float64Array.from(units, (_, i) => i + 1);
    const dots = units.map((unit, i) => ({ x: i + 1, y: drawn(unit.median), color: isChosen(unit) ? PALETTE[1] : PALETTE[0], label: `unit ${unit.unit}${unit.median === Infinity ? ", not within this input" : ""}` }));
    const band = { x, low: units.map((u) => drawn(u.low)), high: units.map((u) => drawn(u.high)), color: PALETTE[0] };
    return new Plot(title, { dots, bands: [band], xLabel: "rank", height: 220, zoom: state.zoom?.[title] ?? null, onzoom: (zoom) => zoomTo(title, zoom) });
  }

  account(m, layer, direction, units, steps) {
    const never = units.filter((u) => u.median === Infinity).length;
    const middle = quantile(units.map((u) => Math.min(u.median, steps)), 0.5);
    const longest = units.slice(-LONGEST).reverse();
    const all = never ? ` ${never} of ${units.length} units never fall below a half within this input (drawn at ${steps}).` : "";
    return [`The unit in the middle has lost half after ${shownNumber(middle)} steps.${all} Longest: `, ...longest.flatMap(({ unit }) => [unitButton(m, layer, direction, unit), " "])];
  }
}
