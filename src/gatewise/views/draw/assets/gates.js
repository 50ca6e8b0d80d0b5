/* Gates and states as pictures, a row for each unit and a column for each step. */
const UNIT_PIXELS = 2;
const MOST_WIDE = 460;

function bytesOf(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function gateMap(name, { range, units, steps, values }, onstep) {
  const [low, high] = range;
  const palette = paletteOf(low < 0 ? "diverging" : "viridis");
  const canvas = element("canvas", { width: steps, height: units, class: "gates" });
  const ctx = canvas.getContext("2d");
  const image = ctx.createImageData(steps, units);
  bytesOf(values).forEach((value, at) => image.data.set([...palette[Math.min(value, SHADES - 1)], 255], 4 * at));
  ctx.putImageData(image, 0, 0);
  canvas.style.width = `${Math.min(MOST_WIDE, Math.max(120, 6 * steps))}px`;
  canvas.style.height = `${Math.max(48, Math.min(256, UNIT_PIXELS * units))}px`;
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    onstep(Math.min(steps - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * steps))));
  });
  canvas.addEventListener("pointerleave", () => onstep(-1));
  const scale = [low, high, low < 0 ? "diverging" : "viridis"];
  return element("figure", { class: "gate" }, element("figcaption", {}, element("b", {}, name), colorBar(scale)), canvas);
}

function gateMaps(layers, onstep) {
  return layers.map(({ layer, backward, arrays }) => element("section", { class: "layer" },
    element("h4", {}, `layer ${layer}${layers.some((each) => each.backward) ? (backward ? ", from the end" : ", from the start") : ""}`),
    element("div", { class: "maps" }, ...Object.entries(arrays).map(([name, values]) => gateMap(name, values, onstep)))));
}
