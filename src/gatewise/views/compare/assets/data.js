/* What the page was written with: runs, their settings, and their curves once they are unpacked. */
const DATA = JSON.parse(document.getElementById("data").textContent);
const RUNS = DATA.runs;
const BROKEN = "broken";

/* The whole numbers that a source's points lie at are differences; metrics are float32 without their last byte. */
async function unpackCurves() {
  const bytes = Uint8Array.from(atob(DATA.curves), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const content = new Uint8Array(await new Response(stream).arrayBuffer());
  const points = DATA.sources.reduce((sum, [, count]) => sum + count, 0);
  const values = DATA.sources.reduce((sum, [, count, metrics]) => sum + count * metrics.length, 0);
  let at = 0;
  const words = (count, planes, lowest) => {
    const found = new Uint8Array(4 * count);
    for (let plane = 0; plane < planes; plane++)
      for (let i = 0; i < count; i++) found[4 * i + lowest + plane] = content[at++];
    return found.buffer;
  };
  const steps = new Int32Array(words(points, 4, 0));
  const epochs = new Int32Array(words(points, 4, 0));
  const milliseconds = new Int32Array(words(points, 4, 0));
  const floats = new Float32Array(words(values, 3, 1));
  const curves = RUNS.map(() => new Map());
  let point = 0;
  let value = 0;
  for (const [run, count, metrics] of DATA.sources) {
    const x = { step: summed(steps, point, count, 1), epoch: summed(epochs, point, count, 1000), seconds: summed(milliseconds, point, count, 1000) };
    point += count;
    for (const metric of metrics) {
      curves[run].set(DATA.metrics[metric], { ...x, values: floats.subarray(value, value + count) });
      value += count;
    }
  }
  return curves;
}

function summed(differences, from, count, unit) {
  const x = new Float64Array(count);
  for (let i = 0, sum = 0; i < count; i++) x[i] = (sum += differences[from + i]) / unit;
  return x;
}

/* A column of the table: what it is called, and each run's value. undefined is "has none", null is null. */
class Field {
  constructor(key, label, group, value, number) {
    Object.assign(this, { key, label, group, value, number });
  }
}

const plainFields = [
  ["state", "status", (r) => r.state],
  ["run", "run", (r) => `${r.name}/${r.id}`],
  ["sweep", "sweep", (r) => r.sweep],
  ["trial", "trial", (r) => r.trial],
];
const lastFields = [
  ["seconds", "seconds", (r) => r.seconds],
  ["parameters", "parameters", (r) => r.parameters],
  ["engine", "engine", (r) => r.engine],
  ["processes", "processes", (r) => r.processes],
  ["commit", "commit", (r) => r.commit && r.commit.slice(0, 10) + (r.commit.endsWith("+changes") ? " + changes" : "")],
  ["changed", "changed", (r) => r.changed],
  ["checkpoint", "checkpoint", (r) => r.checkpoint],
  ["reason", "reason", (r) => r.reason],
  ["folder", "folder", (r) => r.folder],
];

function namesOf(part) {
  return [...new Set(RUNS.flatMap((run) => Object.keys(run[part] ?? {})))];
}

function allFields() {
  const fields = [];
  const add = (key, label, group, value) => {
    const given = RUNS.map(value);
    if (given.some((v) => v !== undefined && v !== null))
      fields.push(new Field(key, label, group, (i) => given[i], given.every((v) => v == null || typeof v === "number")));
  };
  for (const [key, label, value] of plainFields) add(key, label, "run", value);
  for (const column of DATA.columns) {
    const value = (i) => (column.places[i] < 0 ? undefined : column.values[column.places[i]]);
    fields.push(new Field(column.key, column.key, column.hidden ? "other settings" : "settings", value, column.number));
  }
  const several = (part) => new Set(RUNS.map((r) => r[part]).filter(Boolean)).size > 1;
  if (several("task")) add("task", "task", "run", (r) => r.task);
  const monitors = [...new Set(RUNS.map((r) => r.monitor).filter(Boolean))];
  if (several("monitor")) add("monitor", "monitored", "run", (r) => r.monitor);
  const monitored = monitors.length === 1 ? monitors[0] : "monitored value";
  add("best", `best ${monitored}`, "results", (r) => r.best?.[r.monitor]);
  add("epoch", "in epoch", "results", (r) => r.bestEpoch);
  add("epochs", "epochs", "results", (r) => r.epochs);
  add("final", `final ${monitored}`, "results", (r) => r.final?.[r.monitor]);
  for (const name of namesOf("test")) add(`test.${name}`, `test ${name}`, "results", (r) => r.test?.[name]);
  for (const name of namesOf("baselines"))
    for (const metric of namesOf("test"))
      add(`${name}.${metric}`, `${name}: ${metric}`, "baselines", (r) => r.baselines?.[name]?.[metric]);
  for (const part of ["best", "final"])
    for (const name of namesOf(part)) add(`${part}.${name}`, `${name} in the ${part} epoch`, `values of the ${part} epoch`, (r) => r[part]?.[name]);
  for (const [key, label, value] of lastFields) add(key, label, "run", value);
  return fields;
}

const FIELDS = allFields();
const FIELD = new Map(FIELDS.map((field) => [field.key, field]));
