/* What was looked at, and what the page found, in words. */
class Overview extends View {
  constructor() {
    super("overview", "Overview", "What was looked at: the model, its equations and its input; and what the numbers of the other views say, in words.");
  }

  column(m) {
    const model = MODELS[m];
    const facts = [
      ["model", model.name], ["run", model.run], ["task", model.task], ["cell", model.cell],
      ["parameters", typeof model.parameters === "number" ? model.parameters.toLocaleString("en") : model.parameters],
      ["size", `${count(model.layers, "layer")} × ${count(model.directions, "direction")} × ${typeof model.hidden === "number" ? count(model.hidden, "unit") : `${model.hidden.join(", ")} units`}`],
      ["input", count(model.steps, { token: "token", frame: "frame", time: "time step" }[model.step] ?? "step")],
      ["shown", unitsShown(m)],
      ["answer", model.decided?.answer ?? model.clamps?.answer],
    ];
    const rows = facts.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", { class: "long" }, quoted(String(value), 300))));
    const problems = model.problems?.length ? [element("h3", {}, "Not shown, and why"), element("ul", { class: "problems" }, ...model.problems.map((line) => element("li", {}, quoted(line, 600))))] : [];
    const sentences = model.sentences?.length ? [element("h3", {}, "In words"), element("ul", { class: "sentences" }, ...model.sentences.map((line) => element("li", {}, quoted(line, 1000))))] : [];
    return [
      element("div", { class: "scroll" }, element("table", { class: "facts" }, element("tbody", {}, ...rows))),
      ...sentences,
      ...problems,
      element("h3", {}, "Input"),
      model.step === "token" ? ribbon(this, m, { title: "what it read, one box for each token" }) : note(quoted(String(model.input ?? ""), 2000)),
      ...(model.equations ? [element("h3", {}, "Equations of the cell"), element("pre", { class: "equations", tabindex: "0" }, element("bdi", {}, model.equations))] : []),
    ];
  }

  below() {
    return [note("Layers, directions, units and steps are numbered from 0, as in Python: “unit 5 of layer 0” is what Clamp(value, units=[5], layer=0) takes. A click on a map chooses a step and a unit for all views; the address of the page holds what is shown.")];
  }
}

function count(number, thing) {
  return `${number} ${thing}${number === 1 ? "" : "s"}`;
}

/* Of very long inputs only the units that vary most are kept. */
function unitsShown(m) {
  const groups = MODELS[m].units.flat();
  return groups.every((group) => group.numbers.length === group.of) ? null : groups.map((group) => `${group.numbers.length} of ${group.of} units`).filter((text, i, all) => all.indexOf(text) === i).join(", ") + ", those that vary most";
}
