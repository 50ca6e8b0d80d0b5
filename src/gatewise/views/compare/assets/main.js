/* The frame of the page: what is above every view, and which view is shown. */
const VIEWS = [["table", "Table"], ["curves", "Curves"], ["groups", "Groups"], ["sweeps", "Sweeps"], ["pair", "Two runs"]];

class Page {
  constructor() {
    this.table = new RunTable();
    const others = { curves: new CurvesView(), groups: new GroupsView(), sweeps: new SweepsView(), pair: new PairView() };
    this.tableBox = element("section", { "aria-label": "table" }, element("div", { class: "controls" }), this.table.box);
    this.views = { table: this.tableBox, ...Object.fromEntries(Object.entries(others).map(([name, view]) => [name, view.element])) };
    this.others = others;
    this.filter = element("input", { type: "text", id: "filter", placeholder: "model=gru and lr<0.01 and status=done", spellcheck: "false", autocomplete: "off", "aria-describedby": "filter-problem", oninput: () => change({ filter: this.filter.value }) });
    this.search = element("input", { type: "search", id: "search", placeholder: "search", oninput: () => change({ search: this.search.value }) });
    this.problem = element("p", { id: "filter-problem", class: "problem", role: "alert" });
    this.count = element("p", { class: "note", role: "status" });
    this.tabs = element("nav", { "aria-label": "views" });
    const head = element("header", {},
      element("h1", {}, element("bdi", {}, DATA.title)),
      schemeButton());
    const about = `${RUNS.length} ${RUNS.length === 1 ? "run" : "runs"}, ${DATA.made.replace("T", " ").replace("+00:00", " UTC")}, Gatewise ${DATA.version}`;
    const problems = DATA.problems.length ? element("details", { class: "problems" }, element("summary", {}, `${DATA.problems.length} named, and no run`), element("ul", {}, ...DATA.problems.map((line) => element("li", {}, element("bdi", {}, line))))) : "";
    document.body.prepend(element("main", {}, head, element("p", { class: "note" }, about), problems, this.tabs,
      element("div", { class: "filters" }, element("label", { for: "filter" }, "filter"), this.filter, element("label", { for: "search" }, "search"), this.search), this.problem, this.count,
      ...Object.values(this.views)));
    for (const name of Object.keys(this.views)) this.views[name].id = `view-${name}`;
  }

  draw() {
    applyScheme();
    selectRuns();
    if (document.activeElement !== this.filter) this.filter.value = state.filter;
    if (document.activeElement !== this.search) this.search.value = state.search;
    this.problem.textContent = filterProblem;
    this.filter.setAttribute("aria-invalid", String(filterProblem !== ""));
    const chosen = selected();
    this.count.replaceChildren(`${shownRuns.length} of ${RUNS.length} shown${chosen.size ? `, ${chosen.size} selected ` : ""}`, chosen.size ? button("clear selection", () => change({ selected: [] })) : "",
      state.filter || state.search ? element("span", { class: "printed" }, ` Filter: ${[state.filter, state.search].filter(Boolean).join(", ")}`) : "");
    this.tabs.replaceChildren(...VIEWS.map(([name, text]) => button(text, () => change({ view: name, zoom: null }), { "aria-pressed": String(state.view === name), id: `tab-${name}` })));
    for (const [name, view] of Object.entries(this.views)) view.hidden = name !== state.view;
    if (state.view === "table") this.drawTable();
    else this.others[state.view].draw();
  }

  drawTable() {
    this.tableBox.firstChild.replaceChildren(columnMenu(),
      button("CSV", () => save("runs.csv", tableAsCsv(), "text/csv")),
      button("draw curves", () => change({ view: "curves" })),
      selected().size === 2 ? button("compare these two", () => change({ view: "pair", pair: [...selected()].map((i) => RUNS[i].id) })) : "");
    this.table.draw();
  }
}

async function start() {
  readAddress();
  if (!VIEWS.some(([name]) => name === state.view)) state.view = "table";
  const page = new Page();
  listeners.push(() => page.draw());
  page.draw();
  CURVES = await unpackCurves();
  if (state.view !== "table") page.draw();
  document.documentElement.dataset.ready = "yes";
  drawOnChanges(() => keepPlace(() => page.draw()));
}

start();
