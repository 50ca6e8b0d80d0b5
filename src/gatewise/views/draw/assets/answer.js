/* The answer, large, and how probable each class is. */
function answerOf({ answer, choices }) {
  const bars = choices.map(([name, share]) => {
    const bar = element("span", { class: "bar" });
    bar.style.width = `${Math.round(100 * share)}%`;
    return element("tr", {}, element("th", {}, name), element("td", {}, element("span", { class: "track" }, bar)), element("td", { class: "number" }, share.toFixed(3)));
  });
  return [element("p", { class: "answer", "aria-live": "polite" }, answer || "…"), bars.length ? element("table", { class: "choices" }, element("tbody", {}, ...bars)) : null];
}
