/* Tables that are sorted by a click on a heading; each remembers its own order in the address. */
const MOST_ROWS = 300;

function sortRows(rows, columns, order) {
  const column = columns.find(({ name }) => name === order?.[0]);
  if (!column) return rows;
  const sign = order[1] === "down" ? -1 : 1;
  const missing = (value) => value === null || value === undefined || Number.isNaN(value);
  return [...rows].sort((a, b) => {
    const [x, y] = [column.value(a), column.value(b)];
    // What is not there comes last either way.
    if (missing(x) || missing(y)) return Number(missing(x)) - Number(missing(y));
    if (typeof x === "number" && typeof y === "number") return sign * (x - y);
    return sign * String(x).localeCompare(String(y), "en", { numeric: true });
  });
}

/* columns: {name, value(row), show(row) or nothing}; `key` names the table in the address; `order` is how it comes;
   `chosen` says which rows are marked when the marked step or unit moves. */
function sortedTable(view, key, columns, rows, { order = null, chosen = null, most = MOST_ROWS, label = key } = {}) {
  const given = state.sorts?.[key];
  const current = Array.isArray(given) && columns.some(({ name }) => name === given[0]) ? given : order;
  const sorted = sortRows(rows, columns, current);
  const isNumber = (column) => rows.some((row) => typeof column.value(row) === "number");
  const next = (column) => (current?.[0] === column.name ? [column.name, current[1] === "down" ? "up" : "down"] : [column.name, isNumber(column) ? "down" : "up"]);
  const heads = columns.map((column) => {
    const mark = current?.[0] === column.name ? (current[1] === "down" ? " ▼" : " ▲") : "";
    const sorting = mark ? (current[1] === "down" ? "descending" : "ascending") : "none";
    return element("th", { scope: "col", class: isNumber(column) ? "number" : "", "aria-sort": sorting }, button(column.name + mark, () => change({ sorts: { ...state.sorts, [key]: next(column) } }), { title: `sort by ${column.name}` }));
  });
  const cell = (column, row) => {
    const value = column.value(row);
    const shown = column.show ? column.show(row) : typeof value === "number" ? (Number.isNaN(value) ? "" : shownNumber(Number(value.toPrecision(4)))) : value === null || value === undefined ? "" : quoted(String(value));
    return element("td", { class: isNumber(column) ? "number" : "" }, shown);
  };
  const lines = sorted.slice(0, most).map((row) => element("tr", {}, ...columns.map((column) => cell(column, row))));
  if (chosen) view.marks.push(() => lines.forEach((line, i) => line.classList.toggle("selected", chosen(sorted[i]))));
  const note = rows.length > most ? element("p", { class: "note" }, `The first ${most} of ${rows.length} in this order.`) : "";
  return element("div", {}, note, element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...lines))));
}

/* A bar from the middle of its cell, to the right above zero and to the left below it. */
function signedBar(value, most, text = null) {
  const share = value === null || Number.isNaN(value) || !most ? 0 : Math.min(1, Math.abs(value) / most);
  const bar = element("span", { class: value < 0 ? "signed below" : "signed" });
  bar.style.setProperty("--share", `${(share * 50).toFixed(1)}%`);
  return element("span", { class: "with-bar" }, element("span", { class: "track" }, bar), element("span", { class: "value" }, text ?? (value === null || Number.isNaN(value) ? "" : shownNumber(Number(value.toPrecision(3))))));
}

/* A bar of a share of one, behind its text. */
function shareBar(share, ...text) {
  const made = element("span", { class: "share" }, ...text);
  made.style.setProperty("--share", `${(Math.min(1, Math.max(0, share)) * 100).toFixed(1)}%`);
  return made;
}

/* A unit that a click chooses, so that every view shows it. */
function unitButton(m, layer, direction, unit) {
  return button(`unit ${unit}`, () => change(unitChange(m, layer, direction, unit)), { class: "link", title: "show this unit" });
}
