/* Making elements: text is only ever set as text. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && typeof value !== "string") made[name] = value;
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function svgElement(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function choice(label, value, options, onchange) {
  const select = element("select", { onchange: () => onchange(select.value === "" ? null : select.value) });
  for (const [key, text] of options) select.append(element("option", { value: key ?? "", selected: (key ?? "") === (value ?? "") }, text));
  return element("label", { class: "control" }, `${label} `, select);
}

function tick(label, value, onchange) {
  const box = element("input", { type: "checkbox", checked: value, onchange: () => onchange(box.checked) });
  return element("label", { class: "control" }, box, ` ${label}`);
}

function button(text, onclick, attributes = {}) {
  return element("button", { type: "button", onclick, ...attributes }, text);
}

function save(name, content, type) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/* A text that may go on in the next line after a dot, a dash or a slash. */
function breakable(text) {
  return text.split(/(?<=[._/-])/).flatMap((part, i) => (i ? [element("wbr"), part] : [part]));
}

/* A cell of a CSV file; what a spreadsheet would take for a formula gets a ' before it. */
function csvCell(value) {
  if (typeof value === "number") return String(value);
  let text = shownValue(value);
  if (/^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/* What a color scheme of the page is called in its style sheet. */
function styled(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function shownNumber(value) {
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) return value.toExponential(3).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(5)));
}

function shownValue(value) {
  if (value === undefined) return "";
  if (value === null) return "null";
  if (typeof value === "number") return shownNumber(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}
