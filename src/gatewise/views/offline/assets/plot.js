/* One plot: uPlot draws axes and grid and knows the zoom, and the lines are drawn here, each with its own points. */
const PALETTE = [
  "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#e08030", "#118888", "#8866cc", "#999933", "#cc6699", "#5588dd",
];
const NEAR = 30;
/* Milliseconds for which drawing may keep the page from answering, but for the plot that is being drawn. */
const SLICE = 100;
/* More lines than this are drawn thin and a little transparent. */
const CROWD = 60;

/* From dark blue over green to yellow, as steps of Matplotlib's viridis. */
const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

function gradient(share) {
  // Dark blue cannot be seen on black, nor yellow on white.
  const [from, to] = isDark() ? [0.3, 1] : [0, 0.9];
  const at = Math.min(0.999, from + (to - from) * Math.min(1, Math.max(0, share))) * (VIRIDIS.length - 1);
  const [low, high] = [VIRIDIS[Math.floor(at)], VIRIDIS[Math.floor(at) + 1]];
  return `rgb(${low.map((v, i) => Math.round(v + (high[i] - v) * (at % 1))).join(" ")})`;
}

/* Exponential moving average that starts at the first value, as TensorBoard's: 0 leaves a curve as it is. */
function smoothed(values, weight) {
  if (!weight) return values;
  const found = new Float32Array(values.length);
  let sum = 0;
  let share = 0;
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i])) {
      found[i] = NaN;
      continue;
    }
    sum = sum * weight + (1 - weight) * values[i];
    share = share * weight + (1 - weight);
    found[i] = sum / share;
  }
  return found;
}

/* The place of the last x that is not above a value. */
function placeOf(x, value) {
  let low = 0;
  let high = x.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (x[middle] <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}

class Plot {
  /* lines: {x, y, color, label, raw}; bands: {x, low, high, color}; dots: {x, y, color, label}. `names` stand at
     the places 0, 1, 2 ... of an x axis that has no numbers; `nameOf` says what an x is called when one points at
     it; `zoom` is [x, x, y, y]. */
  constructor(title, { lines = [], bands = [], dots = [], logX = false, logY = false, xLabel = "", height = 260, zoom = null, onzoom = null, names = null, nameOf = null }) {
    Object.assign(this, { title, lines, bands, dots, logX, logY, xLabel, height, zoom, onzoom, names, nameOf });
    this.tip = element("div", { class: "tip", role: "status" });
    this.tip.hidden = true;
    this.box = element("div", { class: "plot-box" });
    this.grow(height);
    const buttons = element("span", { class: "plot-buttons" },
      button("PNG", () => this.savePng(), { title: "save as a picture" }),
      button("SVG", () => this.saveSvg(), { title: "save as a drawing" }));
    this.element = element("figure", { class: "plot" }, element("figcaption", {}, element("bdi", {}, title), buttons), this.box, this.tip);
    this.element.plot = this;
  }

  grow(height) {
    this.height = height;
    this.box.style.minHeight = `${height}px`;
  }

  /* Least and largest value along an axis that can be drawn; none at all is [Infinity, -Infinity]. */
  extent(axis) {
    const isLog = axis === "x" ? this.logX : this.logY;
    let low = Infinity;
    let high = -Infinity;
    const take = (values) => {
      for (let i = 0; i < values.length; i++) {
        const v = values[i];
        if (Number.isNaN(v) || (isLog && v <= 0)) continue;
        if (v < low) low = v;
        if (v > high) high = v;
      }
    };
    for (const line of this.lines) take(axis === "x" ? line.x : line.y);
    for (const band of this.bands) axis === "x" ? take(band.x) : (take(band.low), take(band.high));
    take(this.dots.map((dot) => dot[axis]));
    return axis === "x" && this.names ? [-0.5, this.names.length - 0.5] : [low, high];
  }

  range(axis) {
    const isLog = axis === "x" ? this.logX : this.logY;
    let [low, high] = this.shared?.[axis] ?? this.extent(axis);
    if (low > high) [low, high] = isLog ? [0.1, 1] : [0, 1];
    if (low === high) [low, high] = isLog ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
    return [low, high];
  }

  /* Call once the element is in the page and has a width. */
  draw() {
    const around = ([low, high], isLog) => (this.dots.length && !this.names ? padded([low, high], isLog) : [low, high]);
    const [x, y] = this.zoom ? [this.zoom.slice(0, 2), this.zoom.slice(2)] : [around(this.range("x"), this.logX), padded(this.range("y"), this.logY)];
    const ink = styled("--ink");
    const axis = { stroke: ink, grid: { stroke: styled("--grid"), width: 1 }, ticks: { stroke: styled("--grid") }, font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif" };
    const format = (isLog) => (_, values) => values.map((v) => (v === null || (isLog && !isRound(v)) ? "" : shownNumber(v)));
    this.chart?.destroy();
    this.chart = new uPlot(
      {
        width: Math.max(220, this.box.clientWidth || 400),
        height: this.height,
        legend: { show: false },
        cursor: { drag: { x: true, y: true, uni: 24, setScale: false }, points: { show: false } },
        scales: {
          x: { time: false, distr: this.logX ? 3 : 1, range: () => x },
          y: { distr: this.logY ? 3 : 1, range: () => y },
        },
        axes: [
          { ...axis, values: this.names ? (_, places) => places.map((v) => this.names[v] ?? "") : format(this.logX), label: this.xLabel, labelSize: 16, size: 34, ...(this.names ? { incrs: [1], space: 20 } : {}) },
          { ...axis, values: format(this.logY), size: (_, texts) => Math.max(44, 22 + 7 * Math.max(0, ...(texts ?? []).map((text) => text.length))) },
        ],
        series: [{}, { paths: () => null, points: { show: false } }],
        hooks: {
          draw: [(u) => this.drawLines(u)],
          setCursor: [(u) => this.point(u)],
          setSelect: [(u) => this.select(u)],
        },
      },
      [x, y],
      this.box,
    );
    this.chart.over.addEventListener("dblclick", () => this.onzoom?.(null));
    this.chart.over.addEventListener("mouseleave", () => (this.tip.hidden = true));
  }

  drawLines(u) {
    const { ctx } = u;
    const { left, top, width, height } = u.bbox;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, width, height);
    ctx.clip();
    const px = onCanvas(u.scales.x, this.logX, left, width);
    const py = onCanvas(u.scales.y, this.logY, top + height, -height);
    const scale = devicePixelRatio || 1;
    for (const band of this.bands) {
      ctx.globalAlpha = 0.18;
      ctx.fillStyle = band.color;
      ctx.beginPath();
      for (let i = 0; i < band.x.length; i++) ctx.lineTo(px(band.x[i]), py(this.drawable(band.high[i])));
      for (let i = band.x.length - 1; i >= 0; i--) ctx.lineTo(px(band.x[i]), py(this.drawable(band.low[i])));
      ctx.fill();
    }
    const isCrowded = this.lines.length > CROWD;
    for (const line of this.lines) {
      ctx.globalAlpha = line.raw ? 0.22 : isCrowded ? 0.6 : 1;
      ctx.strokeStyle = line.color;
      // Lines of a pixel are drawn many times as fast as wider ones, and a crowd of wider ones is a blot.
      ctx.lineWidth = line.raw || isCrowded ? 1 : 1.6 * scale;
      ctx.beginPath();
      this.trace(ctx, line, px, py, isCrowded ? 2 : 1);
      ctx.stroke();
      if (line.x.length <= 40) this.dotsOf(ctx, line, px, py, scale);
    }
    ctx.globalAlpha = 0.85;
    for (const dot of this.dots) {
      ctx.fillStyle = dot.color;
      ctx.beginPath();
      ctx.arc(px(dot.x), py(dot.y), 4 * scale, 0, 2 * Math.PI);
      ctx.fill();
    }
    ctx.restore();
  }

  /* Add a line to the path. Of points that share a column of pixels, the first, the last, the least and the
     largest are what can be seen: the others lie on the stroke between those. */
  trace(ctx, { x, y }, px, py, column) {
    let drawing = false;
    let at = NaN;
    let first, least, largest, last, leastFirst;
    const end = () => {
      if (Number.isNaN(at)) return;
      const middle = at * column;
      if (drawing) ctx.lineTo(middle, first);
      else ctx.moveTo(middle, first);
      if (least !== first || largest !== first) {
        const inner = leastFirst ? [least, largest] : [largest, least];
        for (const value of inner) ctx.lineTo(middle, value);
        if (last !== inner[1]) ctx.lineTo(middle, last);
      }
      drawing = true;
      at = NaN;
    };
    for (let i = 0; i < x.length; i++) {
      if (Number.isNaN(y[i]) || (this.logY && y[i] <= 0) || (this.logX && x[i] <= 0)) {
        end();
        drawing = false;
        continue;
      }
      const place = Math.round(px(x[i]) / column);
      const value = py(y[i]);
      if (place !== at) {
        end();
        at = place;
        first = least = largest = last = value;
        continue;
      }
      if (value < least) [least, leastFirst] = [value, false];
      if (value > largest) [largest, leastFirst] = [value, true];
      last = value;
    }
    end();
  }

  /* A curve of few points shows where they are; one of a single point is nothing else. */
  dotsOf(ctx, line, px, py, scale) {
    ctx.fillStyle = line.color;
    for (let i = 0; i < line.x.length; i++) {
      if (Number.isNaN(line.y[i]) || (this.logY && line.y[i] <= 0) || (this.logX && line.x[i] <= 0)) continue;
      ctx.beginPath();
      ctx.arc(px(line.x[i]), py(line.y[i]), 2.2 * scale, 0, 2 * Math.PI);
      ctx.fill();
    }
  }

  drawable(value) {
    return this.logY && value <= 0 ? Number.MIN_VALUE : value;
  }

  /* Say which run the nearest line is of, and its value. */
  point(u) {
    const { left, top } = u.cursor;
    if (left < 0 || top < 0) return void (this.tip.hidden = true);
    let best = null;
    let least = NEAR;
    const x = u.posToVal(left, "x");
    const consider = (dx, dy, text, color) => {
      const distance = Math.hypot(u.valToPos(dx, "x") - left, u.valToPos(dy, "y") - top);
      if (distance < least) [best, least] = [{ dx, dy, text, color }, distance];
    };
    for (const line of this.lines) {
      if (line.raw || !line.x.length) continue;
      const at = placeOf(line.x, x);
      for (const i of [at, Math.min(at + 1, line.x.length - 1)])
        if (!Number.isNaN(line.y[i])) consider(line.x[i], line.y[i], line.label, line.color);
    }
    for (const dot of this.dots) consider(dot.x, dot.y, dot.label, dot.color);
    this.tip.hidden = !best;
    if (!best) return;
    const mark = element("span", { class: "mark" });
    mark.style.background = best.color;
    this.tip.replaceChildren(mark, element("bdi", {}, best.text), `: ${shownNumber(best.dy)} at ${this.xLabel} ${this.names?.[best.dx] ?? this.nameOf?.(best.dx) ?? shownNumber(best.dx)}`);
    this.tip.style.left = `${Math.min(left + 12, this.box.clientWidth - 180)}px`;
    this.tip.style.top = `${top + 28}px`;
  }

  select(u) {
    const { left, top, width, height } = u.select;
    // A drag along one axis leaves the other as it is.
    const [across, down] = [width > 4, height > 4 && height < u.over.clientHeight - 1];
    const xs = across ? [u.posToVal(left, "x"), u.posToVal(left + width, "x")] : [u.scales.x.min, u.scales.x.max];
    const ys = down ? [u.posToVal(top + height, "y"), u.posToVal(top, "y")] : [u.scales.y.min, u.scales.y.max];
    if (across || down) this.onzoom?.([...xs, ...ys]);
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }

  get fileName() {
    return this.title.replaceAll(/[^\w.-]+/g, "_").slice(0, 80) || "plot";
  }

  savePng() {
    if (!this.chart) this.draw();
    const from = this.chart.ctx.canvas;
    const canvas = element("canvas", { width: from.width, height: from.height });
    const ctx = canvas.getContext("2d");
    ctx.fillStyle = styled("--paper");
    ctx.fillRect(0, 0, canvas.width, canvas.height);
    ctx.drawImage(from, 0, 0);
    canvas.toBlob((blob) => save(`${this.fileName}.png`, blob));
  }

  saveSvg() {
    if (!this.chart) this.draw();
    save(`${this.fileName}.svg`, new XMLSerializer().serializeToString(drawing(this)), "image/svg+xml");
  }
}

/* A function from a value to its place on the canvas: uPlot's own, without what it does for every point anew. */
function onCanvas({ min, max }, isLog, start, length) {
  const [low, high] = isLog ? [Math.log10(min), Math.log10(max)] : [min, max];
  const unit = length / (high - low);
  return isLog ? (value) => start + (Math.log10(value) - low) * unit : (value) => start + (value - low) * unit;
}

/* Give plots the same axes, so that one can be read against the other. */
function shareAxes(plots) {
  const shared = {};
  for (const axis of ["x", "y"]) {
    const extents = plots.map((plot) => plot.extent(axis));
    shared[axis] = [Math.min(...extents.map(([low]) => low)), Math.max(...extents.map(([, high]) => high))];
  }
  for (const plot of plots) plot.shared = shared;
}

/* A range with some room around it. */
function padded([low, high], isLog) {
  if (isLog) return [low / 1.1, high * 1.1];
  const room = (high - low) * 0.04;
  return [low - room, high + room];
}

/* Whether a number is 1, 2 or 5 times a power of ten: where a logarithmic axis begins is seldom worth a label. */
function isRound(value) {
  const first = value / 10 ** Math.floor(Math.log10(value) + 1e-9);
  return [1, 2, 5].some((digit) => Math.abs(first - digit) < 1e-6);
}

/* Round numbers of an axis: five or so, on a logarithmic one powers of ten. */
function ticks(low, high, isLog) {
  if (isLog) {
    const [first, last] = [Math.ceil(Math.log10(low)), Math.floor(Math.log10(high))];
    const every = Math.max(1, Math.ceil((last - first) / 6));
    if (last > first) return Array.from({ length: Math.floor((last - first) / every) + 1 }, (_, i) => 10 ** (first + i * every));
  }
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.max(0, Math.floor(high / step) - first + 1) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/* A plot as SVG: what is on the canvas, as lines. */
function drawing(plot) {
  const u = plot.chart;
  const ratio = devicePixelRatio || 1;
  const { left, top, width, height } = Object.fromEntries(Object.entries(u.bbox).map(([k, v]) => [k, v / ratio]));
  const [w, h] = [u.width, u.height + 24];
  const svg = svgElement("svg", { xmlns: "http://www.w3.org/2000/svg", width: w, height: h, viewBox: `0 0 ${w} ${h}`, "font-family": "system-ui, sans-serif", "font-size": 12 });
  const label = (x, y, text, anchor) => {
    const made = svgElement("text", { x, y, "text-anchor": anchor, fill: styled("--ink") });
    made.textContent = text;
    return made;
  };
  const put = (...children) => svg.append(...children);
  put(svgElement("rect", { width: w, height: h, fill: styled("--paper") }), label(w / 2, 14, plot.title, "middle"));
  const inside = svgElement("svg", { x: left, y: top + 20, width, height, viewBox: `0 0 ${width} ${height}` });
  const px = (v) => (u.valToPos(v, "x", true) / ratio - left).toFixed(2);
  const py = (v) => (u.valToPos(v, "y", true) / ratio - top).toFixed(2);
  for (const [axis, isLog] of [["x", plot.logX], ["y", plot.logY]])
    for (const value of axis === "x" && plot.names ? plot.names.keys() : ticks(u.scales[axis].min, u.scales[axis].max, isLog)) {
      const across = axis === "y";
      const at = Number(across ? py(value) : px(value));
      const ends = across ? { x1: 0, x2: width, y1: at, y2: at } : { x1: at, x2: at, y1: 0, y2: height };
      inside.append(svgElement("line", { ...ends, stroke: styled("--grid") }));
      put(across ? label(left - 6, at + top + 24, shownNumber(value), "end") : label(left + at, top + height + 36, plot.names?.[value] ?? shownNumber(value), "middle"));
    }
  for (const band of plot.bands) {
    const points = [...band.x].map((x, i) => `${px(x)},${py(plot.drawable(band.high[i]))}`);
    const back = [...band.x].map((x, i) => `${px(x)},${py(plot.drawable(band.low[i]))}`).reverse();
    inside.append(svgElement("polygon", { points: [...points, ...back].join(" "), fill: band.color, "fill-opacity": 0.18 }));
  }
  for (const line of plot.lines) {
    let path = "";
    let drawingLine = false;
    for (let i = 0; i < line.x.length; i++) {
      const ok = !Number.isNaN(line.y[i]) && (!plot.logY || line.y[i] > 0) && (!plot.logX || line.x[i] > 0);
      if (ok) path += `${drawingLine ? "L" : "M"}${px(line.x[i])} ${py(line.y[i])}`;
      drawingLine = ok;
    }
    inside.append(svgElement("path", { d: path, fill: "none", stroke: line.color, "stroke-width": line.raw ? 1 : 1.6, "stroke-opacity": line.raw ? 0.22 : 1 }));
  }
  for (const dot of plot.dots) inside.append(svgElement("circle", { cx: px(dot.x), cy: py(dot.y), r: 4, fill: dot.color }));
  put(inside, label(left + width / 2, h - 4, plot.xLabel, "middle"));
  return svg;
}

/* Zoom the plots of a name to [x, x, y, y], or back to all of it. */
function zoomTo(name, zoom) {
  const { [name]: _, ...others } = state.zoom ?? {};
  const all = zoom ? { ...others, [name]: zoom } : others;
  change({ zoom: Object.keys(all).length ? all : null });
}

/* Show plots side by side, and draw them once they have a width: those that take long after each other, so that the
   page answers in between. */
function showPlots(box, plots) {
  box.replaceChildren(...plots.map((plot) => plot.element));
  const waiting = [...plots];
  box.waiting = waiting;
  const draw = () => {
    if (box.waiting !== waiting) return; // others have taken their place
    const end = performance.now() + SLICE;
    do waiting.shift()?.draw();
    while (waiting.length && (printing || performance.now() < end));
    if (waiting.length) setTimeout(draw);
  };
  draw();
}
