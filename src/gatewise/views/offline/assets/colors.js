/* Colors of values: viridis for shares, blue to red for what has a sign; both are told apart by colour-blind people. */
const DIVERGING = {
  light: [[33, 102, 172], [146, 197, 222], [247, 247, 247], [244, 165, 130], [178, 24, 43]],
  dark: [[110, 180, 255], [45, 96, 146], [30, 36, 46], [150, 76, 54], [255, 150, 115]],
};
const SHADES = 255;

function between(stops, share) {
  const at = Math.min(0.99999, Math.max(0, share)) * (stops.length - 1);
  const [low, high] = [stops[Math.floor(at)], stops[Math.floor(at) + 1]];
  return low.map((v, i) => Math.round(v + (high[i] - v) * (at % 1)));
}

const paletteCache = new Map();

/* SHADES colors from the low to the high end of a scale, as [red, green, blue]. */
function paletteOf(kind) {
  const scheme = isDark() ? "dark" : "light";
  const key = `${kind} ${scheme}`;
  if (!paletteCache.has(key)) {
    const stops = kind === "diverging" ? DIVERGING[scheme] : VIRIDIS;
    paletteCache.set(key, Array.from({ length: SHADES }, (_, i) => between(stops, i / (SHADES - 1))));
  }
  return paletteCache.get(key);
}

function shade(value, [low, high]) {
  return Math.min(SHADES - 1, Math.max(0, Math.round(((value - low) / (high - low || 1)) * (SHADES - 1))));
}

function colorOf(value, scale) {
  return paletteOf(scale[2])[shade(value, scale)];
}

/* A background for text, and an ink that can be read on it. */
function paintText(made, value, scale) {
  if (value === null || Number.isNaN(value)) return made;
  const [r, g, b] = colorOf(value, scale);
  made.style.background = `rgb(${r} ${g} ${b})`;
  const [red, green, blue] = [r, g, b].map((v) => (v / 255) ** 2.2);
  made.style.color = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "#000" : "#fff";
  return made;
}

/* A scale around zero that holds every value. */
function symmetric(values) {
  let most = 0;
  for (const value of values) if (value !== null && !Number.isNaN(value)) most = Math.max(most, Math.abs(value));
  return [-(most || 1), most || 1, "diverging"];
}

/* What the colors mean: a strip with numbers at its ends. */
function colorBar(scale) {
  const canvas = element("canvas", { width: SHADES, height: 1, class: "shades" });
  const ctx = canvas.getContext("2d");
  paletteOf(scale[2]).forEach((rgb, i) => {
    ctx.fillStyle = `rgb(${rgb.join(" ")})`;
    ctx.fillRect(i, 0, 1, 1);
  });
  return element("span", { class: "color-bar" }, shownNumber(Number(scale[0].toPrecision(3))), canvas, shownNumber(Number(scale[1].toPrecision(3))));
}
