/* The input as text, each step on the color of its value; frames and times, which are no text, as a strip. */
function ribbon(view, m, { values = null, scale = null, title, digits = 3 }) {
  const model = MODELS[m];
  if (model.step !== "token") {
    if (!values) return stepList(view, m);
    return view.map({ m, title, values: Float32Array.from(values, (v) => v ?? NaN), scale }).element;
  }
  const starts = new Set((model.words ?? []).map(([first]) => first));
  const isBlank = (text) => /^\s*$/.test(text);
  const spans = model.names.map((name, t) => {
    const made = element("span", { class: "step", "data-step": String(t), title: values && values[t] !== null && !Number.isNaN(values[t]) ? `${stepName(m, t)}: ${shownNumber(Number(Number(values[t]).toPrecision(digits)))}` : stepName(m, t) }, element("bdi", {}, visible(name, 60)));
    const apart = !model.words || (starts.has(t) && t > 0 && !isBlank(model.names[t - 1]));
    if (apart && t > 0) made.classList.add("apart");
    if (!model.words) made.classList.add("whole");
    if (model.words && isBlank(name)) made.classList.add("space");
    return values ? paintText(made, values[t], scale) : made;
  });
  const box = element("div", { class: "ribbon", tabindex: "0", role: "application", "aria-label": `${title}: arrow keys move the marked step`, onclick: (event) => {
    const step = event.target.closest?.(".step")?.dataset.step;
    if (step !== undefined) change({ step: Number(step) });
  }, onkeydown: (event) => moveStep(event, m) }, ...byWord(model, spans));
  let marked = null;
  view.marks.push(() => {
    marked?.classList.remove("chosen");
    marked = spans[state.step] ?? null;
    marked?.classList.add("chosen");
  });
  return element("div", {}, element("h4", {}, title, scale ? " " : "", scale ? colorBar(scale) : ""), box);
}

/* Steps of a word stay on one line. */
function byWord({ words }, spans) {
  if (!words) return spans;
  const found = [];
  let next = 0;
  for (const [first, last] of words) {
    found.push(...spans.slice(next, first), element("span", { class: "word" }, ...spans.slice(first, last + 1)));
    next = last + 1;
  }
  return [...found, ...spans.slice(next)];
}

/* A step to choose where steps have no text. */
function stepList(view, m) {
  const box = element("span");
  view.marks.push(() => box.replaceChildren(choice("step", state.step < 0 ? null : String(state.step), [[null, "—"], ...MODELS[m].names.map((_, t) => [String(t), stepName(m, t)])], (step) => change({ step: step === null ? -1 : Number(step) }))));
  return box;
}

function moveStep(event, m) {
  const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  change({ step: state.step < 0 ? 0 : Math.min(MODELS[m].steps - 1, Math.max(0, state.step + move)) });
}
