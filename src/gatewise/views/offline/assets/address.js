/* The state of the page: what differs from USUAL stands in its address, so that a link shows the same view. */
const state = structuredClone(USUAL);
const listeners = [];

function readAddress() {
  Object.assign(state, structuredClone(USUAL));
  try {
    const given = JSON.parse(decodeURIComponent(location.hash.slice(1)) || "{}");
    for (const key of Object.keys(USUAL)) if (Object.hasOwn(given, key) && isLike(given[key], USUAL[key])) state[key] = given[key];
  } catch {
    /* an address that somebody has cut: the usual view */
  }
}

/* Whether a value from an address is of the kind that the page works with. */
function isLike(value, usual) {
  if (usual === null) return value === null || ["string", "boolean", "object"].includes(typeof value);
  return typeof value === typeof usual && Array.isArray(value) === Array.isArray(usual);
}

function writeAddress() {
  const changed = Object.fromEntries(
    Object.entries(state).filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(USUAL[key])));
  const hash = Object.keys(changed).length ? `#${encodeURIComponent(JSON.stringify(changed))}` : " ";
  if (location.hash !== hash.trim()) history.replaceState(null, "", hash === " " ? location.pathname + location.search : hash);
}

/* Change the state and draw what depends on it, once for all changes until the next frame. */
let waiting = false;
function change(values) {
  Object.assign(state, values);
  if (waiting) return;
  waiting = true;
  queueMicrotask(() => {
    waiting = false;
    writeAddress();
    keepPlace(() => listeners.forEach((listener) => listener()));
  });
}

/* Drawing makes new elements: the focus goes to the one in the place of the old, and a list that was open stays open. */
function keepPlace(draw) {
  const old = document.activeElement;
  const places = [...document.querySelectorAll("details[open]")].filter((list) => list !== old).map(placeInPage);
  const place = placeInPage(old);
  draw();
  for (const path of places) elementAt(path, "DETAILS")?.setAttribute("open", "");
  if (!old.isConnected) elementAt(place, old.tagName)?.focus({ preventScroll: true });
}

function placeInPage(found) {
  const path = [];
  for (let at = found; at && at !== document.body; at = at.parentElement) path.unshift([...at.parentElement.children].indexOf(at));
  return path;
}

function elementAt(path, tag) {
  let at = document.body;
  for (const index of path) at = at?.children[index];
  return at?.tagName === tag ? at : null;
}

/* Light or dark, as somebody has chosen or as the system is; paper is light. */
let printing = false;
function isDark() {
  if (printing) return false;
  return state.dark ?? matchMedia("(prefers-color-scheme: dark)").matches;
}

function applyScheme() {
  if (printing) document.documentElement.dataset.scheme = "light";
  else if (state.dark === null) delete document.documentElement.dataset.scheme;
  else document.documentElement.dataset.scheme = state.dark ? "dark" : "light";
}

function schemeButton() {
  return button("◐", () => change({ dark: !isDark() }), { title: "light or dark", class: "scheme", "aria-label": "light or dark" });
}

/* Draw again when the address, the system's scheme or the width has changed. */
function drawOnChanges(draw) {
  addEventListener("hashchange", () => (readAddress(), draw()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  for (const [event, begins] of [["beforeprint", true], ["afterprint", false]])
    addEventListener(event, () => {
      printing = begins;
      draw();
    });
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    draw();
  });
}
