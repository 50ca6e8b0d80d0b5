/* What moves the marks of a view and does not make it anew. */
const MOVES = ["step", "unit", "unitLayer", "unitDirection", "cell", "row"];

/* What every view has: a sentence, its controls, a column for each model, and what moves with the marked step. */
class View {
  constructor(name, text, sentence) {
    Object.assign(this, { name, text, sentence, marks: [], later: [], maps: [] });
    this.element = element("section", { "aria-label": text, id: `view-${name}` });
  }

  /* The blocks of arrays to decode before it is drawn: [model, array, layer, direction]. */
  needs() {
    return [];
  }

  async prepare() {
    await Promise.all(this.needs().map(load));
  }

  /* While this stays the same, only marks move. */
  key() {
    return JSON.stringify([Object.entries(state).filter(([name]) => !MOVES.includes(name)), isDark(), innerWidth]);
  }

  /* The unit of the first model that is looked at; -1 is none. */
  shownUnit() {
    return state.unit;
  }

  controls() {
    return [];
  }

  /* The elements of one model's column. */
  column() {
    return [];
  }

  /* What stands below the columns, for all models. */
  below() {
    return [];
  }

  /* The columns can only be drawn once they are in the page and have a width. */
  build() {
    [this.marks, this.later, this.maps] = [[], [], []];
    const parts = MODELS.map((_, m) => this.column(m));
    const columns = parts.every((part) => !part.length) ? [] : MODELS.map((model, m) => element("div", { class: "model" }, MODELS.length > 1 ? element("h2", {}, quoted(model.name, 80)) : "", ...parts[m]));
    const controls = this.controls();
    this.element.replaceChildren(
      element("p", { class: "sentence" }, this.sentence),
      controls.length ? element("div", { class: "controls" }, ...controls) : "",
      this.followsUnit ? this.live(() => [matchNote(this.shownUnit())]) : "",
      element("div", { class: columns.length > 1 ? "models two" : "models" }, ...columns),
      ...this.below(),
    );
    for (const draw of this.later) draw();
  }

  /* The marked step or unit has moved. */
  mark() {
    for (const move of this.marks) move();
  }

  map(settings) {
    const map = new HeatMap(settings);
    map.onscroll = (x) => {
      for (const other of this.maps) if (other !== map && other.m === map.m && other.scroll.scrollLeft !== x) other.scroll.scrollLeft = x;
    };
    this.maps.push(map);
    this.marks.push(() => map.draw());
    return map;
  }

  plots(make, isLive = false) {
    const box = element("div", { class: "plots" });
    (isLive ? this.marks : this.later).push(() => showPlots(box, make()));
    return box;
  }

  /* Elements that are made anew when the marked step or unit moves. */
  live(make) {
    const box = element("div");
    this.marks.push(() => box.replaceChildren(...make()));
    return box;
  }
}

function note(...children) {
  return element("p", { class: "note" }, ...children);
}

function legend(entries) {
  return element("p", { class: "legend" }, ...entries.map(([color, text]) => {
    const mark = element("span", { class: "mark" });
    mark.style.background = color;
    return element("span", { class: "entry" }, mark, element("bdi", {}, text));
  }));
}

/* Which unit of the second model stands beside the chosen one, and why that one. */
function matchNote(unit) {
  if (MODELS.length < 2 || unit < 0) return "";
  if (isSameModel()) return note(`Both inputs went through the same model: unit ${unit} is the same one on both sides.`);
  const second = chosenUnit(1, unit);
  if (second.unit === null) return note(DATA.matching ? `Unit ${unit} of the first model has no match in the second one.` : "Units of these two models could not be matched; a number alone says nothing about what a unit does in another model.");
  const where = groupName(1, second.layer, second.direction);
  const correlation = typeof second.correlation === "number" ? ` (correlation ${shownNumber(Number(second.correlation.toPrecision(3)))})` : "";
  return note(`Unit ${unit} of the first model stands beside unit ${second.unit} of the second${where ? ` (${where})` : ""}: in the pairing of all units whose contributions to the answer go together most, these two are a pair${correlation}. Units are matched by what they do, not by their number.`);
}

/* Which layer and direction are shown; views of one unit look at one of them. */
function groupControls(withAll = true) {
  const most = (key) => Math.max(...MODELS.map((model) => model[key]));
  const options = (count, text) => [...(withAll ? [["all", "all"]] : []), ...Array.from({ length: count }, (_, i) => [String(i), text(i)])];
  const [layer, direction] = firstGroup();
  const found = [];
  const shown = (key, one) => (withAll && state[key] === "all" ? "all" : String(one));
  if (most("layers") > 1) found.push(choice("layer", shown("layer", layer), options(most("layers"), String), (value) => change({ layer: value, ...(value === "all" ? {} : { unitLayer: Number(value) }) })));
  if (most("directions") > 1) found.push(choice("direction", shown("direction", direction), options(most("directions"), (d) => (d ? "backward ←" : "forward →")), (value) => change({ direction: value, ...(value === "all" ? {} : { unitDirection: Number(value) }) })));
  return found;
}

function unitControl(view) {
  const [layer, direction] = firstGroup();
  const numbers = [...MODELS[0].units[layer][direction].numbers].sort((a, b) => a - b);
  const label = choice("unit", null, [[null, "—"], ...numbers.map((n) => [String(n), String(n)])], (unit) => change({ unit: unit === null ? -1 : Number(unit), unitLayer: layer, unitDirection: direction }));
  view.marks.push(() => (label.querySelector("select").value = numbers.includes(state.unit) ? String(state.unit) : ""));
  return label;
}

/* How heat maps are drawn. A slider stays in the page while it is dragged: sizes are read whenever a map is drawn. */
function mapControls(view) {
  const slider = (label, key, most) => {
    const range = element("input", { type: "range", min: "0", max: String(most), step: "1", "aria-label": label, oninput: () => change({ [key]: Number(range.value) || -1 }) });
    view.marks.push(() => (range.value = String(Math.max(0, state[key]))));
    return element("label", { class: "control" }, `${label} `, range);
  };
  return [
    choice("order of units", state.order, [["similar", "by similarity"], ["number", "by number"]], (order) => change({ order })),
    MODELS.some((model) => model.words) ? tick("join to words", state.joined, (joined) => change({ joined })) : "",
    slider("cell width", "cell", 40),
    slider("row height", "row", 24),
    button("fit", () => change({ cell: -1, row: -1 }), { title: "sizes that fit the window" }),
  ];
}
