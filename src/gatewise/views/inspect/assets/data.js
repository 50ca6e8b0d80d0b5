/* What the page was written with, and its arrays, each decoded when a view first needs it. */
const DATA = JSON.parse(document.getElementById("data").textContent);
const MODELS = DATA.models;
const BLANK = 255;
const LAST = 254;

const promised = new Map();
const decoded = new Map();
const blockKey = (m, name, layer, direction) => JSON.stringify([m, name, layer, direction]);

function arrayOf(m, name) {
  return MODELS[m].arrays.find((array) => array.name === name);
}

function arraysOfKind(m, kind) {
  return MODELS[m].arrays.filter((array) => array.kind === kind);
}

/* The values [steps, units] of an array in one layer and direction; blanks are NaN. */
function load([m, name, layer, direction]) {
  const key = blockKey(m, name, layer, direction);
  if (!promised.has(key)) promised.set(key, decode(m, arrayOf(m, name), layer, direction).then((values) => decoded.set(key, values)));
  return promised.get(key);
}

/* What load() has decoded. */
function valuesOf(m, name, layer, direction) {
  return decoded.get(blockKey(m, name, layer, direction));
}

/* What a base64 text holds of deflated bytes. */
async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate")));
}

/* An array that is another one, as what an LSTM keeps is its forget gate, names that one and has no blocks. */
async function decode(m, array, layer, direction) {
  const { blocks } = array.same ? arrayOf(m, array.same) : array;
  const codes = new Uint8Array(await (await inflate(blocks[layer][direction])).arrayBuffer());
  const [low, high] = array.scale;
  const meaning = Float32Array.from({ length: 256 }, (_, code) => (code === BLANK ? NaN : low + ((high - low) * code) / LAST));
  return Float32Array.from(codes, (code) => meaning[code]);
}

/* The strongest contexts of units are much text: they come deflated, as JSON. */
async function loadContexts() {
  for (const { follows } of MODELS)
    if (typeof follows?.contexts === "string") follows.contexts = await (await inflate(follows.contexts)).json();
}

/* Numbers of the units of an array, and the places of its columns in the order that is asked for. A projected
   state has another number of units than the gates have, and only their own numbers. */
function unitsOf(m, values, layer, direction) {
  const count = values.length / MODELS[m].steps;
  const known = MODELS[m].units[layer][direction];
  const numbers = known.numbers.slice(0, count); // ascending: of a projected state the first ones
  const byNumber = [...numbers.keys()].sort((a, b) => numbers[a] - numbers[b]);
  return { numbers, rows: state.order === "similar" && known.order?.length === count ? known.order : byNumber };
}

function meanOf(values) {
  let sum = 0;
  let count = 0;
  for (const value of values)
    if (value !== null && !Number.isNaN(value)) {
      sum += value;
      count++;
    }
  return count ? sum / count : NaN;
}

/* One number for each step: what `of` makes of the values of all units. */
function perStep(values, steps, of) {
  const units = values.length / steps;
  return Float64Array.from({ length: steps }, (_, t) => of(values.subarray(t * units, (t + 1) * units)));
}

/* The values of one unit, by its place. */
function unitValues(values, steps, place) {
  const units = values.length / steps;
  return Float64Array.from({ length: steps }, (_, t) => values[t * units + place]);
}

/* What the equations leave of a state, unit by unit, between each step and the step `at`: the product of what is
   kept at every step after the earlier of the two, up to the later one. "Later" is as the direction reads. */
function left(kept, steps, at, direction) {
  const units = kept.length / steps;
  const found = new Float32Array(kept.length).fill(NaN);
  const later = direction ? -1 : 1;
  for (let u = 0; u < units; u++) {
    found[at * units + u] = 1;
    for (let t = at + later, product = 1; t >= 0 && t < steps; t += later) found[t * units + u] = product *= kept[t * units + u];
    for (let t = at, product = 1; t - later >= 0 && t - later < steps; t -= later) found[(t - later) * units + u] = product *= kept[t * units + u];
  }
  return found;
}

/* The quantile of numbers that are there, between two of them in proportion. */
function quantile(values, share) {
  const sorted = Float64Array.from(values).filter((v) => !Number.isNaN(v)).sort();
  if (!sorted.length) return NaN;
  const at = share * (sorted.length - 1);
  const low = sorted[Math.floor(at)];
  return low + ((sorted[Math.ceil(at)] ?? low) - low) * (at % 1);
}

const inside = (value, count) => Math.min(Math.max(0, Math.trunc(value) || 0), count - 1);

/* The layer and direction of the first model that views of one unit look at. */
function firstGroup() {
  const { layers, directions } = MODELS[0];
  return [
    inside(state.layer === "all" ? state.unitLayer : Number(state.layer), layers),
    inside(state.direction === "all" ? state.unitDirection : Number(state.direction), directions),
  ];
}

function isSameModel() {
  return MODELS.length > 1 && MODELS[0].run === MODELS[1].run;
}

function matchOf(layer, direction) {
  return DATA.matching?.find((match) => match.layer[0] === layer && match.direction[0] === direction) ?? null;
}

/* Which layer and direction of a model stand beside those of the first one. */
function besideGroup(m, layer, direction) {
  const match = m ? matchOf(layer, direction) : null;
  return match ? [match.layer[1], match.direction[1]] : [inside(layer, MODELS[m].layers), inside(direction, MODELS[m].directions)];
}

/* The layers and directions of a model that are shown. */
function shownGroups(m) {
  const { layers, directions } = MODELS[m];
  const [layer, direction] = besideGroup(m, ...firstGroup());
  const chosen = (value, count, one) => (value === "all" ? [...Array(count).keys()] : [one]);
  return chosen(state.layer, layers, layer).flatMap((l) => chosen(state.direction, directions, direction).map((d) => [l, d]));
}

function allGroups(m) {
  const { layers, directions } = MODELS[m];
  return [...Array(layers).keys()].flatMap((l) => [...Array(directions).keys()].map((d) => [l, d]));
}

/* The chosen unit, where it is one of the first model, and the unit that stands beside it in another one: the same
   in the same model, else its match. null is none. */
function chosenUnit(m, unit = state.unit) {
  const [layer, direction] = firstGroup();
  const [l, d] = besideGroup(m, layer, direction);
  const there = (number) => (MODELS[m].units[l][d].numbers.includes(number) ? number : null);
  if (!m || isSameModel()) return { layer: l, direction: d, unit: there(unit) };
  const pair = matchOf(layer, direction)?.pairs.find(([first]) => first === unit);
  return { layer: l, direction: d, unit: pair ? there(pair[1]) : null, correlation: pair?.[2] };
}

/* Choose a unit by one of any model's; of the second one only what has a match can be chosen. */
function unitChange(m, layer, direction, unit) {
  if (!m || isSameModel()) return { unit, unitLayer: layer, unitDirection: direction };
  const match = DATA.matching?.find((it) => it.layer[1] === layer && it.direction[1] === direction);
  const pairs = match?.pairs.filter(([, second]) => second === unit) ?? [];
  if (!pairs.length) return {};
  const best = pairs.reduce((a, b) => (Math.abs(b[2]) > Math.abs(a[2]) ? b : a));
  return { unit: best[0], unitLayer: match.layer[0], unitDirection: match.direction[0] };
}
