/* Which runs may be ranked against each other: those of one task and, by what they monitored, those that monitored the same. */
const MONITORED = new Set(["best", "final"]);
const TASKS = new Set(RUNS.map((run) => run.task).filter(Boolean));

function kindOf(i, field) {
  const run = RUNS[i];
  const words = TASKS.size > 1 ? [run.task ?? "unknown task"] : [];
  if (MONITORED.has(field.key)) words.push(`${run.monitor} (${run.mode === "max" ? "larger" : "smaller"} is better)`);
  return words.join(": ");
}

/* The runs that have a result, by kind: [kind, runs], the kind of most runs first. */
function kindsOf(runs, field) {
  const there = field ? runs.filter((i) => typeof field.value(i) === "number") : [];
  return [...groupedBy(there, (i) => kindOf(i, field))].sort(([, a], [, b]) => b.length - a.length);
}

/* The runs of the kind that was chosen, or of most runs, and what the page says of the others. */
function comparable(runs, field) {
  const kinds = kindsOf(runs, field);
  const [kind, members] = kinds.find(([name]) => name === state.kind) ?? kinds[0] ?? ["", []];
  const others = kinds.filter(([name]) => name !== kind);
  const count = others.reduce((sum, [, of]) => sum + of.length, 0);
  const what = MONITORED.has(field?.key) ? "of another task or by another metric" : "of another task";
  const remark = count ? ` These are the runs of ${kind}. ${count} others, ${what}, are not ranked with them: choose them above.` : "";
  return { kind, kinds, members, remark };
}

/* Where there are several kinds, a choice among them. */
function kindChoice({ kind, kinds }) {
  if (kinds.length < 2) return "";
  return choice("runs of", kind, kinds.map(([name, runs]) => [name, `${name}, ${runs.length}`]), (name) => change({ kind: name, brushes: {} }));
}

/* Whether the larger value of a result is the better one, for these runs. */
function isLarger(key, runs) {
  const name = key.replace(/^(test|best|final)\./, "").split(/[./]/).at(-1);
  const monitored = runs.map((i) => RUNS[i]).filter((r) => r.monitor && (MONITORED.has(key) || r.monitor.split("/").at(-1) === name));
  if (monitored.length) return monitored.every((r) => r.mode === "max");
  return /acc|f1|bleu|precision|recall|auc|r2|correct/i.test(name);
}

/* Whether a field has more than one value in these runs. */
function differs(field, runs) {
  return new Set(runs.map((i) => shownValue(field.value(i)))).size > 1;
}

/* A Map from what `key` says of the items to those it says it of. */
function groupedBy(items, key) {
  const groups = new Map();
  for (const item of items) {
    const name = key(item);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(item);
  }
  return groups;
}

/* Words with numbers in them, in the order in which people count. */
function inOrder(a, b) {
  return a.localeCompare(b, "en", { numeric: true });
}
