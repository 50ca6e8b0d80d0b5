/* The table of runs: only the rows that are in view are elements, so that thousands scroll as fast as ten. */
const ROW_HEIGHT = 28;
const ROWS_AROUND = 20;
const MOST_SETTINGS_SHOWN = 12;

/* Runs that the filter and the search let through, in the order of the table. */
let shownRuns = RUNS.map((_, i) => i);
let filterProblem = "";
const selected = () => new Set(state.selected.map((id) => RUN_OF_ID.get(id)).filter((i) => i !== undefined));
const RUN_OF_ID = new Map(RUNS.map((run, i) => [run.id, i]));

function usualColumns() {
  // The experiment stands in the name of a run.
  const settings = FIELDS.filter((f) => f.group === "settings" && f.key !== "experiment").slice(0, MOST_SETTINGS_SHOWN).map((f) => f.key);
  const count = (field) => RUNS.filter((_, i) => field.value(i) !== undefined).length;
  const tests = FIELDS.filter((f) => f.key.startsWith("test.") && f.key !== "test.loss").sort((a, b) => count(b) - count(a)).slice(0, 2);
  const baselines = FIELDS.filter((f) => f.group === "baselines" && tests.some((t) => f.key.endsWith(t.key.slice(4)))).slice(0, 2);
  const results = ["best", "epoch", ...tests.map((f) => f.key), ...baselines.map((f) => f.key), "seconds", "parameters"];
  return ["state", "run", "trial", ...settings, "task", "monitor", ...results, "reason"].filter((key) => FIELD.has(key));
}

function shownFields() {
  return (state.columns ?? usualColumns()).map((key) => FIELD.get(key)).filter(Boolean);
}

function selectRuns() {
  let keep = () => true;
  filterProblem = "";
  try {
    keep = compileFilter(state.filter);
  } catch (error) {
    if (!(error instanceof FilterError)) throw error;
    filterProblem = error.message;
  }
  const text = state.search.trim().toLowerCase();
  const runs = RUNS.map((_, i) => i).filter((i) => keep(i) && (!text || matchesText(i, text)));
  for (const [key, direction] of [...state.sort].reverse()) {
    const field = FIELD.get(key);
    if (field) sortBy(runs, field, direction === "down" ? -1 : 1);
  }
  shownRuns = runs;
}

/* Stable; what a run does not have comes last either way. */
function sortBy(runs, field, sign) {
  const values = new Map(runs.map((i) => [i, field.value(i)]));
  const rank = (v) => (v === undefined ? 2 : v === null ? 1 : 0);
  runs.sort((a, b) => {
    const [va, vb] = [values.get(a), values.get(b)];
    if (rank(va) || rank(vb)) return rank(va) - rank(vb);
    if (typeof va === "number" && typeof vb === "number") return sign * (va - vb);
    return sign * inOrder(shownValue(va), shownValue(vb));
  });
}

function sortOn(key, add) {
  const current = state.sort.find(([name]) => name === key)?.[1];
  const next = current === undefined ? [[key, "up"]] : current === "up" ? [[key, "down"]] : [];
  change({ sort: add ? [...state.sort.filter(([name]) => name !== key), ...next] : next });
}

class RunTable {
  constructor() {
    this.head = element("thead");
    this.body = element("tbody");
    this.table = element("table", { class: "runs" }, this.head, this.body);
    this.box = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "table of runs" }, this.table);
    this.box.addEventListener("scroll", () => this.drawRows());
    this.rows = new Map();
    addEventListener("resize", () => this.drawRows());
  }

  draw() {
    const fields = shownFields();
    const cells = fields.map((field) => {
      const direction = state.sort.find(([key]) => key === field.key)?.[1];
      const mark = direction ? (direction === "up" ? " ▲" : " ▼") : "";
      // Chromium leaves buttons out of a heading that it prints on the next sheet.
      const heading = printing ? element("span", {}, ...breakable(field.label + mark)) : button(field.label + mark, (event) => sortOn(field.key, event.shiftKey), { title: `sort by ${field.key}; with shift, after the others` });
      return element("th", { scope: "col", class: field.number ? "number" : "", "aria-sort": direction ? (direction === "up" ? "ascending" : "descending") : "none" }, heading);
    });
    const all = element("input", { type: "checkbox", "aria-label": "select all runs shown", checked: shownRuns.length > 0 && shownRuns.every((i) => selected().has(i)) });
    all.addEventListener("change", () => change({ selected: all.checked ? shownRuns.map((i) => RUNS[i].id) : [] }));
    this.head.replaceChildren(element("tr", {}, element("th", {}, all), ...cells));
    this.table.style.fontSize = printing ? `${Math.min(10, Math.max(5, 190 / fields.length))}px` : "";
    this.fields = fields;
    this.rows.clear();
    this.drawRows();
  }

  drawRows() {
    if (!this.fields) return; // another view has been shown so far
    const height = this.box.clientHeight || 600;
    // Paper has all rows.
    const from = printing ? 0 : Math.max(0, Math.floor(this.box.scrollTop / ROW_HEIGHT) - ROWS_AROUND);
    const to = printing ? shownRuns.length : Math.min(shownRuns.length, from + Math.ceil(height / ROW_HEIGHT) + 2 * ROWS_AROUND);
    const chosen = selected();
    const space = (count) => {
      const row = element("tr", { class: "space", "aria-hidden": "true" });
      row.style.height = `${count * ROW_HEIGHT}px`;
      return row;
    };
    const rows = shownRuns.slice(from, to).map((i) => this.row(i, chosen.has(i)));
    this.body.replaceChildren(space(from), ...rows, space(shownRuns.length - to));
    this.table.setAttribute("aria-rowcount", String(shownRuns.length));
  }

  row(i, isSelected) {
    let made = this.rows.get(i);
    if (!made) {
      const box = element("input", { type: "checkbox", "aria-label": `select ${RUNS[i].id}`, onchange: () => toggle(i) });
      const cells = this.fields.map((field) => {
        const text = shownValue(field.value(i));
        const cut = text.length > 120 ? `${text.slice(0, 120)}…` : text;
        return element("td", { class: field.number ? "number" : field.key === "run" ? "run" : "", title: text.length > 24 ? text.slice(0, 2000) : null }, element("bdi", {}, cut));
      });
      made = element("tr", { class: `state-${RUNS[i].state}` }, element("td", {}, box), ...cells);
      this.rows.set(i, made);
    }
    made.firstChild.firstChild.checked = isSelected;
    made.classList.toggle("selected", isSelected);
    return made;
  }
}

function toggle(i) {
  const chosen = selected();
  if (!chosen.delete(i)) chosen.add(i);
  change({ selected: [...chosen].map((run) => RUNS[run].id) });
}

function tableAsCsv() {
  const fields = shownFields();
  const lines = [fields.map((f) => csvCell(f.label)), ...shownRuns.map((i) => fields.map((f) => csvCell(f.value(i))))];
  return lines.map((cells) => cells.join(",")).join("\n") + "\n";
}

/* Which columns are shown: a list to tick, by group. */
function columnMenu() {
  const current = new Set(shownFields().map((f) => f.key));
  const pick = (key, on) => {
    const keys = FIELDS.map((f) => f.key).filter((k) => (k === key ? on : current.has(k)));
    change({ columns: keys });
  };
  const parts = [...groupedBy(FIELDS, (f) => f.group)].map(([group, fields]) =>
    element("fieldset", {}, element("legend", {}, group), ...fields.map((f) => tick(f.label, current.has(f.key), (on) => pick(f.key, on)))));
  const usual = button("usual columns", () => change({ columns: null }));
  return element("details", { class: "menu" }, element("summary", {}, "columns"), element("div", {}, usual, ...parts));
}
