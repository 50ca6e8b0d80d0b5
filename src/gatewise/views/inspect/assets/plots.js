/* Views that are one plot for all layers: saturation of the gates, and gradients against distance. */
class SaturationView extends View {
  constructor() {
    super("saturation", "Is it saturated?", "One dot for each unit: the share of steps at which a gate is almost open (above .9, to the right) and almost closed (below .1, upwards). Dots near the corner at 0 stay between; dots near the slanted line always do one or the other (after Karpathy et al., 2015).");
    this.followsUnit = true;
  }

  column(m) {
    const { saturation } = MODELS[m];
    if (!saturation?.length) return [note(`The ${visible(MODELS[m].cell, 40)} has no gate between 0 and 1 that could be saturated.`)];
    const groups = allGroups(m);
    const entries = groups.length > 1 ? groups.map(([l, d], i) => [PALETTE[i % PALETTE.length], groupName(m, l, d)]) : [];
    return [legend(entries), this.plots(() => saturation.map((gate) => this.plot(m, gate, groups)), true), note(...this.account(m, saturation, groups))];
  }

  plot(m, gate, groups) {
    const title = `${visible(gate.name, 30)} · ${MODELS[m].name}`;
    const chosen = chosenUnit(m);
    const dots = groups.flatMap(([layer, direction], i) => (gate.above[layer][direction] ?? []).map((above, place) => {
      const unit = MODELS[m].units[layer][direction].numbers[place] ?? place;
      const where = groupName(m, layer, direction);
      const isChosen = chosen.unit === unit && chosen.layer === layer && chosen.direction === direction;
      return { x: above, y: gate.below[layer][direction][place], color: isChosen ? styled("--ink") : PALETTE[i % PALETTE.length], label: `${isChosen ? "chosen " : ""}unit ${unit}${where ? `, ${where}` : ""}`, isChosen };
    })).filter((dot) => dot.x !== null && dot.y !== null).sort((a, b) => a.isChosen - b.isChosen);
    const edge = { x: [0, 1], y: [1, 0], color: styled("--ink"), label: "", raw: true };
    return new Plot(title, { dots, lines: [edge], xLabel: "share of steps above .9 (y: below .1)", height: 280, zoom: state.zoom?.[title] ?? [-0.04, 1.04, -0.04, 1.04], onzoom: (zoom) => zoomTo(title, zoom) });
  }

  account(m, saturation, groups) {
    return saturation.map((gate) => {
      const mean = (side) => meanOf(groups.flatMap(([l, d]) => gate[side][l][d] ?? []));
      return `${visible(gate.name, 30)}: above .9 at ${Math.round(mean("above") * 100)} % of steps, below .1 at ${Math.round(mean("below") * 100)} %. `;
    });
  }
}

/* More bands than these hide each other. */
const MOST_BANDS = 4;
const FAINT = 0.01;

class GradientView extends View {
  constructor() {
    super("gradient", "Gradient", "How much the loss at the end still depends on a state so many steps earlier: the size of its gradient against distance, on a logarithmic axis. A line that falls steadily is a gradient that vanishes: the network cannot learn over that distance.");
  }

  controls() {
    const states = [...new Set(MODELS.flatMap((model) => (model.gradients ?? []).map((line) => line.state)))];
    return states.length > 1 ? [choice("state", state.gradient, [[null, "all"], ...states.map((name) => [name, visible(name, 20)])], (gradient) => change({ gradient }))] : [];
  }

  /* All models in one plot, so that they can be compared. */
  below() {
    const all = MODELS.flatMap((model, m) => (model.gradients ?? []).map((entry) => ({ ...entry, m })));
    const shown = all.filter((entry) => state.gradient === null || entry.state === state.gradient);
    if (!shown.length) return [note("No gradients were measured; the overview says why.")];
    const named = (entry) => [...(MODELS.length > 1 ? [MODELS[entry.m].name] : []), `state ${visible(entry.state, 20)}`, groupName(entry.m, entry.layer, entry.direction)].filter(Boolean).join(" · ");
    const numbers = (values) => Float64Array.from(values ?? [], (v) => v ?? NaN);
    const color = (i) => PALETTE[i % PALETTE.length];
    const lines = shown.map((entry, i) => ({ x: numbers(entry.distance), y: numbers(entry.median), color: color(i), label: named(entry) }));
    const banded = shown.length <= MOST_BANDS ? shown.filter((entry) => entry.low && entry.high) : [];
    const bands = banded.map((entry) => this.band(entry, color(shown.indexOf(entry)))).filter((band) => band.x.length > 1);
    const title = "size of the gradient of the loss";
    const plot = () => new Plot(title, { lines, bands, logY: true, xLabel: "steps before the end", height: 420, zoom: state.zoom?.[title] ?? null, onzoom: (zoom) => zoomTo(title, zoom) });
    return [legend(shown.map((entry, i) => [color(i), named(entry)])), this.plots(() => [plot()]), this.table(shown, named), note(banded.length ? "The bands are the middle half of what was measured. " : "", ...this.remarks())];
  }

  /* What the models' gradients are of, each sentence once. */
  remarks() {
    return [...new Set(MODELS.map((model) => model.gradient_note).filter(Boolean))].map((text) => quoted(text, 600));
  }

  /* Zeros have no place on a logarithmic axis. */
  band({ distance, low, high }, color) {
    const there = distance.map((_, i) => i).filter((i) => low[i] > 0 && high[i] > 0);
    return { x: there.map((i) => distance[i]), low: there.map((i) => low[i]), high: there.map((i) => high[i]), color };
  }

  /* What can be read off the lines, as numbers. */
  table(shown, named) {
    const rows = shown.map((entry) => {
      const there = entry.distance.map((_, i) => i).filter((i) => entry.median[i] > 0);
      const [first, last] = [there[0], there.at(-1)];
      const faint = there.find((i) => entry.median[i] < FAINT * entry.median[first]);
      const steps = entry.distance[last] - entry.distance[first];
      return { name: named(entry), first: entry.median[first] ?? null, last: entry.median[last] ?? null, factor: steps > 0 ? (entry.median[last] / entry.median[first]) ** (1 / steps) : null, faint: faint === undefined ? null : entry.distance[faint] };
    });
    return sortedTable(this, "gradients", [
      { name: "gradient of", value: (row) => row.name },
      { name: "at the end", value: (row) => row.first },
      { name: "at the greatest distance", value: (row) => row.last },
      { name: "factor a step", value: (row) => row.factor },
      { name: "below 1 % after", value: (row) => row.faint, show: (row) => (row.faint === null ? "not within the input" : count(row.faint, "step")) },
    ], rows, { label: "gradients" });
  }
}
