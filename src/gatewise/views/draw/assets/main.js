/* One asks at a time: what was written meanwhile is asked when the answer to the last has come. */
let asking = false;
let stale = false;
let last = null;

const sheet = new Sheet(DATA.lines ? 900 : 360, DATA.lines ? 220 : 360, ask);
const said = element("div", { class: "said" });
const problem = element("p", { class: "problem", role: "alert" });
const maps = element("div", {});

async function ask() {
  if (asking) {
    stale = true;
    return;
  }
  document.documentElement.dataset.answered = "no";
  asking = true;
  do {
    stale = false;
    await askOnce();
  } while (stale);
  asking = false;
  document.documentElement.dataset.answered = "yes";
}

async function askOnce() {
  const strokes = sheet.strokes.map((stroke) => [...stroke]);
  problem.textContent = "";
  if (!strokes.length) {
    last = null;
    show();
    return;
  }
  try {
    const reply = await fetch("answer", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ strokes }) });
    if (reply.ok) last = await reply.json();
    else problem.textContent = await reply.text();
  } catch {
    problem.textContent = "the program that serves this page has ended: start it again, and open its new address";
  }
  show();
}

function show() {
  if (last === null) {
    said.replaceChildren(element("p", { class: "answer" }, "…"), element("p", { class: "note" }, "Write with mouse, pen or finger."));
    maps.replaceChildren();
    sheet.places = [];
  } else {
    said.replaceChildren(...answerOf(last).filter(Boolean));
    maps.replaceChildren(...gateMaps(last.layers, mark));
    sheet.places = last.places;
  }
  sheet.draw();
}

function mark(step) {
  sheet.marked = step;
  sheet.draw();
}

function buildPage() {
  const buttons = element("div", { class: "controls" },
    button("clear", () => sheet.clear(), { id: "clear" }), button("take back a stroke", () => sheet.undo(), { id: "undo" }));
  const head = element("header", {}, element("h1", {}, `Write: ${DATA.title}`), schemeButton());
  const note = element("p", { class: "note" }, `Gatewise ${DATA.version}. Each map has a row for each unit and a column for each step of the pen; the step under the pointer is marked on the sheet.`);
  const writing = element("div", { class: DATA.lines ? "writing lines" : "writing" }, element("div", {}, sheet.canvas, buttons, problem), said);
  document.body.prepend(element("main", {}, head, writing, note, maps));
}

function draw() {
  applyScheme();
  show();
  document.documentElement.dataset.ready = "yes";
}

readAddress();
buildPage();
listeners.push(draw);
draw();
drawOnChanges(draw);
