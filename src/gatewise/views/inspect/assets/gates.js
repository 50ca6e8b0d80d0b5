/* Every gate, candidate and state as a heat map of steps by units. */
const USUALLY_SHOWN = ["gate", "candidate", "state"];

class GatesView extends View {
  constructor() {
    super("gates", "Gates", "Every number the cell works with: steps run across, units down. A gate near 1 (yellow) is open, near 0 (dark) closed; states are blue below zero and red above it.");
    this.followsUnit = true;
  }

  shownArrays(m) {
    return MODELS[m].arrays.filter((array) => (state.shown ? state.shown.includes(array.name) : USUALLY_SHOWN.includes(array.kind)));
  }

  needs() {
    return MODELS.flatMap((_, m) => this.shownArrays(m).flatMap((array) => shownGroups(m).map(([l, d]) => [m, array.name, l, d])));
  }

  controls() {
    const all = new Map(MODELS.flatMap((model) => model.arrays.map((array) => [array.name, array])));
    const current = new Set(MODELS.flatMap((_, m) => this.shownArrays(m).map((array) => array.name)));
    const pick = (name, on) => change({ shown: [...all.keys()].filter((key) => (key === name ? on : current.has(key))) });
    const open = this.element.querySelector("details.menu")?.open ?? false;
    const boxes = [...all.values()].map((array) => tick(`${visible(array.name, 30)}: ${visible(array.meaning, 60)}`, current.has(array.name), (on) => pick(array.name, on)));
    return [
      ...groupControls(),
      element("details", { class: "menu", open }, element("summary", {}, "arrays"), element("div", {}, button("usual arrays", () => change({ shown: null })), element("fieldset", {}, ...boxes))),
      ...mapControls(this),
    ];
  }

  column(m) {
    const maps = this.shownArrays(m).flatMap((array) => shownGroups(m).map(([layer, direction]) => {
      const values = valuesOf(m, array.name, layer, direction);
      const where = groupName(m, layer, direction);
      return this.map({ m, title: `${visible(array.name, 30)}${where ? ` · ${where}` : ""}`, about: visible(array.meaning, 80), values, scale: array.scale, ...unitsOf(m, values, layer, direction), layer, direction }).element;
    }));
    return [element("div", { class: MODELS[m].steps > 60 ? "maps long" : "maps" }, ...maps)];
  }

  below() {
    return [note("Click a cell to mark its step and unit in every map, or move the mark with the arrow keys. Gates share the scale from 0 to 1; a state's scale is symmetric around zero and the same in all layers. Blank cells are steps that were not there.")];
  }
}
