/* What one unit follows: the text on the colors of its values, its strongest contexts, and what it goes with. */
const MOST_FOLLOWERS = 40;

function followedArray(m) {
  const { arrays, follows } = MODELS[m];
  const named = (name) => arrays.find((array) => array.name === name);
  return named(state.array) ?? named(follows?.array) ?? named("h") ?? arrays[0] ?? null;
}

/* What is known of a layer's and direction's correlations, or null. */
function correlations(m, layer, direction) {
  const { follows } = MODELS[m];
  return follows && !follows.problem ? follows.units?.[layer]?.[direction] ?? null : null;
}

/* The feature by which units are listed: the chosen one, else the first. */
function chosenFeature(m) {
  const features = MODELS[m].follows?.features ?? [];
  return Math.max(0, features.indexOf(state.feature));
}

class FollowView extends View {
  constructor() {
    super("follow", "What does this unit follow?", "The input in the colors of one unit's values, the places in the run's own data where it is strongest, and which features of the input it goes with.");
    this.followsUnit = true;
  }

  needs() {
    return MODELS.flatMap((_, m) => (followedArray(m) ? [[m, followedArray(m).name, ...besideGroup(m, ...firstGroup())]] : []));
  }

  async prepare() {
    await Promise.all([super.prepare(), loadContexts()]);
  }

  /* Another unit is another text. */
  key() {
    return super.key() + firstGroup() + [state.unit];
  }

  controls() {
    const names = [...new Set(MODELS.flatMap((model) => model.arrays.map((array) => array.name)))];
    const features = [...new Set(MODELS.flatMap((model) => model.follows?.features ?? []))];
    return [
      ...groupControls(false), unitControl(this),
      names.length ? choice("array", followedArray(0)?.name ?? names[0], names.map((name) => [name, visible(name, 30)]), (array) => change({ array })) : "",
      features.length ? choice("feature", state.feature ?? features[0], features.map((name) => [name, visible(name, 60)]), (feature) => change({ feature })) : "",
    ];
  }

  column(m) {
    return [...this.subject(m), ...this.tables(m)];
  }

  /* The chosen unit, else the one that goes most with the feature. */
  shownUnit() {
    if (state.unit >= 0) return state.unit;
    const [layer, direction] = firstGroup();
    const ranks = correlations(0, layer, direction)?.rank?.[chosenFeature(0)] ?? [];
    const best = ranks.reduce((found, rank, place) => (rank !== null && rank < (ranks[found] ?? Infinity) ? place : found), 0);
    return MODELS[0].units[layer][direction].numbers[best];
  }

  subject(m) {
    const array = followedArray(m);
    const { layer, direction, unit } = chosenUnit(m, this.shownUnit());
    if (!array || unit === null) return [note("No unit of this model stands beside the chosen one.")];
    const values = valuesOf(m, array.name, layer, direction);
    const place = unitsOf(m, values, layer, direction).numbers.indexOf(unit);
    if (place < 0) return [note(`The array ${visible(array.name, 30)} has no unit ${unit}.`)];
    const where = groupName(m, layer, direction);
    const shown = unitValues(values, MODELS[m].steps, place);
    return [ribbon(this, m, { values: shown, scale: array.scale, title: `unit ${unit}, ${visible(array.name, 30)}${where ? `, ${where}` : ""}` })];
  }

  tables(m) {
    const { follows } = MODELS[m];
    const { layer, direction, unit } = chosenUnit(m, this.shownUnit());
    if (!follows) return [note("Nothing is known of what its units follow.")];
    if (follows.problem) return [element("p", { class: "problem" }, quoted(follows.problem, 600))];
    if (unit === null) return [];
    const known = correlations(m, layer, direction);
    const numbers = MODELS[m].units[layer][direction].numbers;
    const place = numbers.indexOf(unit);
    const found = [];
    const contexts = follows.contexts?.[layer]?.[direction]?.[unit];
    const of = follows.array ? ` (${visible(follows.array, 30)})` : "";
    found.push(element("h4", {}, `Where unit ${unit}${of} is strongest in the run's own data`), contexts?.length ? contextList(contexts) : note("The page has contexts of the units that matter most for the answer only; this is none of them."));
    if (!known) return [...found, note("No correlations for this layer and direction.")];
    const { features } = follows;
    // Ranks and Holm's correction are over the units of all layers and directions, shown or not.
    const all = MODELS[m].units.flat().reduce((sum, group) => sum + group.of, 0);
    found.push(element("h4", {}, `What unit ${unit}${of} goes with`), this.features(m, known, features, place, all));
    const feature = chosenFeature(m);
    found.push(element("h4", {}, "Units that go most with ", quoted(features[feature] ?? "")), this.followers(m, known, feature, numbers, layer, direction, unit, all));
    const usual = `One nice unit is no finding: of ${all} units and ${features.length} features, ${all * features.length} pairs were looked at, and some look good by chance. p (Holm) is corrected for the number of units; the rank says how many of them go with the feature still more.`;
    const how = `p comes from ${follows.shifts ?? "all"} shifts of the values against the features, over ${follows.steps ?? "all"} steps.`;
    return [...found, note(usual), note(follows.note ? quoted(follows.note, 1000) : how)];
  }

  features(m, known, features, place, units) {
    const rows = features.map((name, f) => ({ name, ...numbersOf(known, f, place) }));
    return sortedTable(this, `features${m}`, [{ name: "feature", value: (row) => row.name }, ...numberColumns(units)], rows, { order: ["correlation", "down"], label: "correlations of the unit" });
  }

  followers(m, known, feature, numbers, layer, direction, chosen, all) {
    const rows = numbers.map((unit, place) => ({ unit, ...numbersOf(known, feature, place) }));
    const columns = [{ name: "unit", value: (row) => row.unit, show: (row) => unitButton(m, layer, direction, row.unit) }, ...numberColumns(all)];
    return sortedTable(this, `followers${m}`, columns, rows, { order: ["rank", "up"], most: MOST_FOLLOWERS, chosen: (row) => row.unit === chosen, label: "units by feature" });
  }
}

function numbersOf(known, feature, place) {
  const of = (name) => known[name]?.[feature]?.[place] ?? null;
  return { r: of("r"), p: of("p"), holm: of("holm"), rank: of("rank") };
}

function numberColumns(units) {
  return [
    { name: "correlation", value: (row) => (row.r === null ? null : Math.abs(row.r)), show: (row) => signedBar(row.r, 1) },
    { name: "p", value: (row) => row.p },
    { name: "p (Holm)", value: (row) => row.holm, show: (row) => (row.holm === null ? "" : row.holm < 0.05 ? element("b", {}, shownNumber(Number(row.holm.toPrecision(3)))) : shownNumber(Number(row.holm.toPrecision(3)))) },
    { name: "rank", value: (row) => row.rank, show: (row) => (row.rank === null ? "" : `${row.rank} of ${units}`) },
  ];
}

/* Strongest places: text before, the step itself on the color of its value, text after. */
function contextList(contexts) {
  const scale = symmetric(contexts.map(([, , , value]) => value));
  const rows = contexts.map(([before, token, after, value]) => element("tr", {},
    element("td", { class: "before" }, element("bdi", {}, visible(before, 80))),
    element("td", {}, paintText(quoted(token, 40), value, scale)),
    element("td", { class: "after" }, element("bdi", {}, visible(after, 80))),
    element("td", { class: "number" }, value === null ? "" : shownNumber(Number(value.toPrecision(3))))));
  return element("div", { class: "scroll" }, element("table", { class: "contexts" }, element("tbody", {}, ...rows)));
}
