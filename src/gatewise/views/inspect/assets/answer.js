/* What decided the answer, what a clamp changes of it, and the prediction at every step. */
class DecidedView extends View {
  constructor() {
    super("decided", "What decided the answer?", "How much each step speaks for the answer (red) or against it (blue): by the gradient, and by leaving the step out and running the network again. Where the two disagree, trust the second.");
  }

  column(m) {
    const { decided } = MODELS[m];
    if (!decided) return [note("What decided the answer was not worked out for this input; the overview says why.")];
    const { gradient, left_out: leftOut, agreement, attention } = decided;
    const agrees = agreement === null || agreement === undefined ? "" : `The two ways agree with a correlation of ${shownNumber(Number(agreement.toPrecision(3)))}${agreement < 0.5 ? ": little, so that the gradient alone should not be believed here" : ""}.`;
    const ways = [["by the gradient", gradient], ["by leaving out", leftOut]].filter(([, values]) => values);
    return [
      element("p", {}, decided.title ? quoted(decided.title, 300) : "answer", ": ", element("b", {}, quoted(String(decided.answer), 200))),
      note(`${agrees} ${leftOut ? "" : "Leaving out was not tried."}`),
      ...ways.map(([title, values]) => ribbon(this, m, { values, scale: symmetric(values), title })),
      ...(attention ? [ribbon(this, m, { values: attention, scale: [0, Math.max(...attention), "share"], title: "attention: the weight that the pooling gives to each step" })] : []),
      decided.note ? note(quoted(decided.note, 600)) : "",
      this.table(m, decided),
    ];
  }

  table(m, { gradient, left_out: leftOut, attention }) {
    const rows = MODELS[m].names.map((name, step) => ({ step, name, gradient: gradient?.[step] ?? null, left: leftOut?.[step] ?? null, attention: attention?.[step] ?? null }));
    const way = (name, key, values) => {
      const most = symmetric(values)[1];
      return { name, value: (row) => row[key], show: (row) => signedBar(row[key], most) };
    };
    const columns = [
      { name: "step", value: (row) => row.step, show: (row) => stepButton(row.step) },
      { name: MODELS[m].step, value: (row) => row.name, show: (row) => quoted(row.name, 24) },
      ...(gradient ? [way("gradient", "gradient", gradient)] : []),
      ...(leftOut ? [way("left out", "left", leftOut)] : []),
      ...(attention ? [{ name: "attention", value: (row) => row.attention, show: (row) => shareBar(row.attention, shownNumber(Number(row.attention.toPrecision(3)))) }] : []),
    ];
    return sortedTable(this, `decided${m}`, columns, rows, { order: ["step", "up"], chosen: (row) => row.step === state.step, label: "contribution of each step" });
  }
}

function stepButton(step) {
  return button(String(step), () => change({ step }), { class: "link", title: "mark this step" });
}

class ClampsView extends View {
  constructor() {
    super("clamps", "Does it matter?", "The network again, with a gate or one unit of it held at 0, at 1 or at its mean: what changes of the loss, of the answer, and of the probability of the answer without a clamp. What changes nothing does not matter here, however telling it looks.");
  }

  column(m) {
    const { clamps } = MODELS[m];
    if (!clamps?.rows?.length) return [note("Nothing was clamped for this input; the overview says why.")];
    const rows = clamps.rows.map((row) => ({ ...row, change: row.loss === null || clamps.loss === null ? null : row.loss - clamps.loss, isOther: row.answer !== clamps.answer }));
    const most = symmetric(rows.map((row) => row.change))[1];
    const { layers, directions } = MODELS[m];
    const columns = [
      { name: "change of loss", value: (row) => row.change, show: (row) => signedBar(row.change, most) },
      { name: "array", value: (row) => row.name },
      { name: "held at", value: (row) => row.value },
      { name: "unit", value: (row) => row.unit ?? -1, show: (row) => (row.unit === null || row.unit === undefined ? "all" : unitButton(m, row.layer, row.direction, row.unit)) },
      ...(layers > 1 ? [{ name: "layer", value: (row) => row.layer }] : []),
      ...(directions > 1 ? [{ name: "direction", value: (row) => (row.direction === null ? null : arrow(row.direction)) }] : []),
      { name: "answer", value: (row) => row.answer, show: (row) => (row.isOther ? element("b", {}, quoted(String(row.answer), 40)) : element("span", { class: "same" }, "the same")) },
      { name: "probability", value: (row) => row.probability ?? null },
      { name: "loss", value: (row) => row.loss },
    ];
    const other = rows.filter((row) => row.isOther).length;
    const base = clamps.probability === undefined || clamps.probability === null ? "" : `, probability ${shownNumber(Number(clamps.probability.toPrecision(3)))}`;
    return [
      element("p", {}, `Without a clamp: loss ${clamps.loss === null ? "unknown" : shownNumber(Number(clamps.loss.toPrecision(4)))}, answer `, element("b", {}, quoted(String(clamps.answer), 100)), `${base}. ${other} of ${rows.length} clamps give another answer.`),
      sortedTable(this, `clamps${m}`, columns, rows, { order: ["change of loss", "down"], chosen: (row) => isChosenUnit(m, row), label: "clamps" }),
      clamps.note ? note(quoted(clamps.note, 600)) : "",
    ];
  }
}

function isChosenUnit(m, row) {
  const { layer, direction, unit } = chosenUnit(m);
  return unit !== null && row.unit === unit && row.layer === layer && row.direction === direction;
}

const STEPS_AT_ONCE = 200;

class PredictionsView extends View {
  constructor() {
    super("predictions", "Prediction at every step", "What the network expects after each step: its five first choices with their probabilities, what really came, and how much that surprised it (in nats; 0 is no surprise).");
  }

  column(m) {
    const { predictions, steps } = MODELS[m];
    if (!predictions?.steps?.length) return [note("There is no prediction at every step for this task; the overview says why.")];
    const { surprise, of_next: ofNext = true } = predictions;
    const hasSurprise = surprise?.some((v) => v !== null);
    const plot = hasSurprise ? [this.plots(() => [stepPlot(m, `surprise at ${ofNext ? "what came next" : "the right class"} · ${MODELS[m].name}`, [{ x: stepsOf(m), y: Float64Array.from(surprise, (v) => v ?? NaN), color: PALETTE[0], label: "surprise" }], [], { height: 160 })], true)] : [];
    const most = (surprise ?? []).reduce((a, b) => Math.max(a, b ?? 0), 0);
    return [
      element("h4", {}, quoted(predictions.title ?? "prediction", 200)),
      ...(hasSurprise && ofNext && MODELS[m].step === "token" ? [ribbon(this, m, { values: [null, ...surprise.slice(0, -1)], scale: [0, most || 1, "share"], title: "surprise at each token, given those before it" })] : []),
      ...plot,
      ...(this.areShares(m) ? [] : [this.plots(() => [this.forecast(m, predictions)], true)]),
      predictions.note ? note(quoted(predictions.note, 600)) : "",
      this.pages(steps),
      this.table(m, predictions, hasSurprise),
    ];
  }

  /* Whether what is predicted are probabilities of names, and not values of a series. */
  areShares(m) {
    const rows = MODELS[m].predictions.steps;
    return MODELS[m].task !== "Forecasting" && rows.every((row) => (row ?? []).every(([, p]) => typeof p === "number" && p >= 0 && p <= 1));
  }

  /* What a series was expected to be, and what it was. */
  forecast(m, { steps: predicted, actual }) {
    // Of several targets the first is drawn, as of the forecast.
    const numbers = (values) => Float64Array.from(values, (v) => Number.parseFloat(v ?? ""));
    const lines = [{ x: stepsOf(m), y: numbers(predicted.map((row) => row?.[0]?.[1])), color: PALETTE[1], label: "forecast" }];
    if (actual?.some((v) => v !== null)) lines.unshift({ x: stepsOf(m), y: numbers(actual), color: PALETTE[0], label: "what came" });
    return stepPlot(m, `forecast after each step (red) and what came (blue) · ${MODELS[m].name}`, lines);
  }

  pages(steps) {
    if (steps <= STEPS_AT_ONCE) return "";
    const from = inside(state.from, steps);
    const to = Math.min(steps, from + STEPS_AT_ONCE);
    return element("div", { class: "controls" }, button("← earlier", () => change({ from: Math.max(0, from - STEPS_AT_ONCE) }), { disabled: from === 0 }), `steps ${from} to ${to - 1} of ${steps}`, button("later →", () => change({ from: to }), { disabled: to >= steps }));
  }

  table(m, { steps: predicted, actual, of_next: ofNext = true }, hasSurprise) {
    const { steps, names } = MODELS[m];
    const from = inside(state.from, steps);
    const shown = [...Array(Math.min(STEPS_AT_ONCE, steps - from)).keys()].map((i) => from + i);
    const isShare = this.areShares(m);
    const width = predicted.reduce((most, choices) => Math.max(most, choices?.length ?? 0), 0);
    const hasActual = actual?.some((name) => name !== null);
    const heads = ["step", "after", ...Array.from({ length: width }, (_, i) => (i ? `${i + 1}.` : isShare ? "first choice" : "forecast")), ...(hasActual ? [ofNext || !isShare ? "what came" : "right"] : []), ...(hasSurprise ? ["surprise"] : [])];
    const guess = (t, i) => {
      const [name, p] = predicted[t]?.[i] ?? [null, null];
      if (name === null) return element("td");
      const text = [quoted(String(name), 20), ` ${p === null ? "" : shownNumber(Number(p.toPrecision(isShare ? 2 : 4)))}`];
      return element("td", { class: hasActual && name === actual[t] ? "right" : "" }, isShare ? shareBar(p, ...text) : element("span", {}, ...text));
    };
    const rows = shown.map((t) => element("tr", {},
      element("td", { class: "number" }, stepButton(t)), element("td", {}, quoted(names[t], 20)),
      ...Array.from({ length: width }, (_, i) => guess(t, i)),
      ...(hasActual ? [element("td", {}, actual[t] === null ? "" : quoted(String(actual[t]), 20))] : []),
      ...(hasSurprise ? [element("td", { class: "number" }, this.surprise(m, t))] : [])));
    this.marks.push(() => rows.forEach((row, i) => row.classList.toggle("selected", shown[i] === state.step)));
    return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "predictions" }, element("table", { class: "predictions" }, element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))), element("tbody", {}, ...rows)));
  }

  surprise(m, t) {
    const value = MODELS[m].predictions.surprise[t];
    return value === null ? "" : shownNumber(Number(value.toPrecision(3)));
  }
}
