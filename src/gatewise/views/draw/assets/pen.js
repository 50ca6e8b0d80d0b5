/* The sheet that one writes on: strokes of points [x, y] in its own units, y upwards. */
const MOST_POINTS = 5000;

class Sheet {
  constructor(width, height, onchange) {
    [this.width, this.height, this.onchange] = [width, height, onchange];
    this.strokes = [];
    this.pen = null;
    this.places = [];
    this.marked = -1;
    this.canvas = element("canvas", { class: "sheet", "aria-label": "write here with mouse, pen or finger", role: "img" });
    const ratio = Math.max(1, Math.min(3, devicePixelRatio || 1));
    Object.assign(this.canvas, { width: width * ratio, height: height * ratio });
    this.canvas.style.width = `${width}px`;
    this.ratio = ratio;
    for (const [event, work] of [["pointerdown", "begin"], ["pointermove", "go"], ["pointerup", "end"], ["pointercancel", "end"]])
      this.canvas.addEventListener(event, (e) => this[work](e));
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * this.width;
    const y = this.height - ((event.clientY - box.top) / box.height) * this.height;
    return [Number(x.toFixed(1)), Number(y.toFixed(1))];
  }

  count() {
    return this.strokes.reduce((sum, stroke) => sum + stroke.length, 0);
  }

  begin(event) {
    if (this.pen !== null || event.button > 0 || this.count() >= MOST_POINTS) return;
    event.preventDefault();
    this.pen = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.strokes.push([this.place(event)]);
    this.changed();
  }

  go(event) {
    if (event.pointerId !== this.pen) return;
    const stroke = this.strokes.at(-1);
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const each of passed.length ? passed : [event]) {
      const point = this.place(each);
      if (String(point) !== String(stroke.at(-1)) && this.count() < MOST_POINTS) stroke.push(point);
    }
    this.changed();
  }

  end(event) {
    if (event.pointerId !== this.pen) return;
    this.pen = null;
    this.changed();
  }

  clear() {
    this.strokes = [];
    this.changed();
  }

  undo() {
    this.strokes.pop();
    this.changed();
  }

  changed() {
    this.places = [];
    this.draw();
    this.onchange();
  }

  draw() {
    const ctx = this.canvas.getContext("2d");
    ctx.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    ctx.clearRect(0, 0, this.width, this.height);
    ctx.strokeStyle = ctx.fillStyle = styled("--ink");
    Object.assign(ctx, { lineWidth: 4, lineCap: "round", lineJoin: "round" });
    for (const stroke of this.strokes) {
      ctx.beginPath();
      stroke.forEach(([x, y], i) => ctx[i ? "lineTo" : "moveTo"](x, this.height - y));
      if (stroke.length === 1) ctx.lineTo(stroke[0][0] + 0.01, this.height - stroke[0][1]);
      ctx.stroke();
    }
    const marked = this.places[this.marked];
    if (!marked) return;
    ctx.fillStyle = styled("--wrong");
    ctx.beginPath();
    ctx.arc(marked[0], this.height - marked[1], 7, 0, 7);
    ctx.fill();
  }
}
