/* A heat map: steps across, units down. Only what is in view is on the canvas, so that any length can be scrolled. */
const AXIS = 40;
const LABEL_FONT = "11px system-ui, sans-serif";
const BOLD_FONT = "bold 11px system-ui, sans-serif";
const LABEL_ROOM = 84;
const BRACE_ROOM = 20;
const LEAST_LABEL = 11;
const SHORT_LABEL = 16;
const CELL = { least: 3, most: 56 };
const ROW = { room: 270, least: 1, most: 14 };

class HeatMap {
  /* values [steps, units] on `scale`; `numbers` are what the units are called, `rows` the places of the units from
     top to bottom; a map without `numbers` is a strip of one row. */
  constructor({ m, title, about = "", values, scale, numbers = null, rows = [0], layer = 0, direction = 0 }) {
    Object.assign(this, { m, title, values, scale, numbers, rows, layer, direction });
    this.columns = columnsOf(m, state.joined);
    this.count = this.columns.first.length;
    this.canvas = element("canvas", { class: "map" });
    this.wide = element("div", { class: "map-wide" }, this.canvas);
    this.scroll = element("div", { class: "map-scroll", tabindex: "0", role: "application", "aria-label": `${title}: arrow keys move the marked step${numbers ? " and unit" : ""}` }, this.wide);
    this.tip = element("div", { class: "tip" });
    this.tip.hidden = true;
    this.read = element("p", { class: "read", role: "status" });
    this.element = element("figure", { class: "plot heat" },
      element("figcaption", {}, element("span", {}, element("bdi", {}, title), about ? element("span", { class: "about" }, ` ${about}`) : ""), element("span", { class: "plot-buttons" }, button("PNG", () => this.savePng(), { title: "save as a picture" }))),
      element("div", { class: "under" }, colorBar(scale), this.read), this.scroll, this.tip);
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => (this.tip.hidden = true));
    this.canvas.addEventListener("click", (event) => this.choose(event));
    this.scroll.addEventListener("keydown", (event) => this.key(event));
    this.scroll.addEventListener("scroll", () => (this.draw(), this.onscroll?.(this.scroll.scrollLeft)));
    this.paintImage();
  }

  /* The value of a column: that of its step, or the mean over the steps of a word. */
  at(column, place) {
    const units = this.numbers?.length ?? 1;
    const [first, last] = [this.columns.first[column], this.columns.last[column]];
    if (first === last) return this.values[first * units + place];
    return meanOf(Array.from({ length: last - first + 1 }, (_, i) => this.values[(first + i) * units + place]));
  }

  paintImage() {
    const colors = paletteOf(this.scale[2]);
    const image = new ImageData(this.count, this.rows.length);
    this.rows.forEach((place, row) => {
      for (let column = 0; column < this.count; column++) {
        const value = this.at(column, place);
        if (!Number.isNaN(value)) image.data.set([...colors[shade(value, this.scale)], 255], 4 * (row * this.count + column));
      }
    });
    this.image = element("canvas", { width: this.count, height: this.rows.length });
    this.image.getContext("2d").putImageData(image, 0, 0);
  }

  /* Other values of the same steps and units. */
  show(values) {
    this.values = values;
    this.paintImage();
  }

  /* Sizes in pixels, from the room that there is. */
  measure() {
    this.width = Math.max(120, this.scroll.clientWidth);
    const fits = (this.width - AXIS) / this.count;
    this.cell = state.cell > 0 ? state.cell : Math.min(CELL.most, Math.max(CELL.least, fits));
    this.row = !this.numbers ? 22 : state.row > 0 ? state.row : Math.min(ROW.most, Math.max(ROW.least, Math.floor(ROW.room / this.rows.length)));
    const ctx = this.canvas.getContext("2d");
    ctx.font = BOLD_FONT;
    let longest = 0;
    for (const name of this.columns.names) longest = Math.max(longest, ctx.measureText(visible(name, 16)).width);
    this.upright = longest > this.cell - 2 && longest > SHORT_LABEL;
    this.wideLabel = MODELS[this.m].step === "token" ? 0 : longest + 4;
    this.braces = Boolean(MODELS[this.m].words) && !state.joined;
    // Single characters say nothing once most of them are left out: then the words alone stand there.
    this.labels = !(this.braces && this.cell < 7);
    this.labelRoom = !this.labels ? 4 : this.upright ? Math.min(LABEL_ROOM, longest) + 8 : 18;
    this.top = this.labelRoom + (this.braces ? BRACE_ROOM : 0);
    this.height = this.top + this.row * this.rows.length + 2;
    this.total = this.cell * this.count;
  }

  draw() {
    this.measure();
    const ratio = devicePixelRatio || 1;
    this.wide.style.width = `${AXIS + Math.max(this.total, 1)}px`;
    const width = Math.min(this.width, AXIS + this.total + 1);
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${this.height}px`;
    const ctx = this.canvas.getContext("2d");
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.paint(ctx, this.scroll.scrollLeft, width);
    this.say();
  }

  /* Draw columns from a distance from the left on. */
  paint(ctx, from, width) {
    const { cell, row, top, rows, total, count } = this;
    const x = (column) => AXIS + column * cell - from;
    const [first, last] = [Math.max(0, Math.floor(from / cell)), Math.min(count, Math.ceil((from + width - AXIS) / cell))];
    ctx.clearRect(0, 0, width, this.height);
    ctx.save();
    ctx.beginPath();
    ctx.rect(AXIS, 0, width - AXIS, this.height);
    ctx.clip();
    ctx.fillStyle = styled("--panel");
    ctx.fillRect(x(0), top, total, row * rows.length);
    ctx.imageSmoothingEnabled = false;
    ctx.drawImage(this.image, first, 0, last - first, rows.length, x(first), top, (last - first) * cell, row * rows.length);
    this.paintLabels(ctx, first, last, x);
    const chosen = state.step >= 0 && state.step < MODELS[this.m].steps ? this.columns.of[state.step] : -1;
    if (chosen >= 0) this.frame(ctx, x(chosen), top, cell, row * rows.length);
    const unitRow = this.chosenRow();
    if (unitRow >= 0) this.frame(ctx, x(0), top + unitRow * row, total, row);
    ctx.restore();
    this.paintAxis(ctx, unitRow);
  }

  frame(ctx, x, y, width, height) {
    for (const [color, line] of [[styled("--paper"), 3], [styled("--ink"), 1.2]]) {
      ctx.strokeStyle = color;
      ctx.lineWidth = line;
      ctx.strokeRect(x - 0.5, y - 0.5, width + 1, height + 1);
    }
  }

  paintLabels(ctx, first, last, x) {
    const { cell, top } = this;
    const chosen = state.step >= 0 ? this.columns.of[state.step] : -1;
    // Characters stay side by side, each of them; of numbers only as many stand there as can be read.
    const every = Math.max(1, Math.ceil((this.upright ? LEAST_LABEL : this.wideLabel) / cell));
    const base = top - 4;
    const label = (column) => {
      ctx.font = column === chosen ? BOLD_FONT : LABEL_FONT;
      ctx.fillStyle = styled(column === chosen ? "--accent" : "--ink");
      const text = visible(this.columns.names[column], 16);
      ctx.save();
      ctx.translate(x(column) + cell / 2, base);
      if (this.upright) ctx.rotate(-Math.PI / 2);
      ctx.textAlign = this.upright ? "left" : "center";
      ctx.textBaseline = this.upright ? "middle" : "alphabetic";
      ctx.fillText(this.upright ? fitting(ctx, text, this.labelRoom - 6) : text, 0, 0);
      ctx.restore();
    };
    if (this.labels) {
      const near = (column) => chosen >= 0 && column !== chosen && Math.abs(column - chosen) * cell < (this.upright ? LEAST_LABEL : this.wideLabel);
      for (let column = Math.ceil(first / every) * every; column < last; column += every) if (!near(column)) label(column);
      if (chosen >= first && chosen < last) label(chosen);
    }
    if (this.braces) this.paintBraces(ctx, first, last, x);
  }

  /* A brace over the steps of each word, and the word where there is room for it. */
  paintBraces(ctx, first, last, x) {
    ctx.font = LABEL_FONT;
    ctx.textAlign = "center";
    ctx.textBaseline = "alphabetic";
    for (const [from, to, word] of MODELS[this.m].words) {
      if (to < first || from >= last) continue;
      const [start, end] = [x(from) + 1, x(to + 1) - 1];
      ctx.strokeStyle = styled("--soft");
      ctx.lineWidth = 1;
      ctx.beginPath();
      ctx.moveTo(start, BRACE_ROOM - 1);
      ctx.lineTo(start, BRACE_ROOM - 4);
      ctx.lineTo(end, BRACE_ROOM - 4);
      ctx.lineTo(end, BRACE_ROOM - 1);
      ctx.stroke();
      const isChosen = state.step >= from && state.step <= to;
      ctx.fillStyle = styled(isChosen ? "--accent" : "--ink");
      const text = fitting(ctx, visible(word, 40), end - start + 2);
      if (end - start >= 12) ctx.fillText(text, (start + end) / 2, BRACE_ROOM - 7);
    }
  }

  paintAxis(ctx, chosen) {
    if (!this.numbers) return;
    const { row, top, rows } = this;
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    ctx.font = LABEL_FONT;
    // In order of similarity numbers say nothing from afar: they stand there once each row has room for its own.
    const every = row >= LEAST_LABEL ? 1 : state.order === "number" ? Math.ceil(24 / row) : Infinity;
    const y = (place) => top + (place + 0.5) * row;
    ctx.fillStyle = styled("--soft");
    for (let place = 0; place < rows.length; place += every)
      if (every < Infinity && (chosen < 0 || place === chosen || Math.abs(y(place) - y(chosen)) >= LEAST_LABEL)) ctx.fillText(String(this.numbers[rows[place]]), AXIS - 5, y(place));
    if (chosen < 0) return;
    ctx.font = BOLD_FONT;
    ctx.fillStyle = styled("--accent");
    ctx.fillText(String(this.numbers[rows[chosen]]), AXIS - 5, Math.min(this.height - 6, Math.max(6, y(chosen))));
  }

  /* The row of the unit that is chosen, where it is one of this layer and direction. */
  chosenRow() {
    if (!this.numbers) return -1;
    const { layer, direction, unit } = chosenUnit(this.m);
    if (unit === null || layer !== this.layer || direction !== this.direction) return -1;
    return this.rows.indexOf(this.numbers.indexOf(unit));
  }

  /* The value under the mark, in words, also for who cannot point. */
  say() {
    const row = this.chosenRow();
    const isThere = state.step >= 0 && state.step < MODELS[this.m].steps && (row >= 0 || !this.numbers);
    this.read.replaceChildren(isThere ? this.sentence(this.columns.of[state.step], Math.max(0, row)) : "");
  }

  sentence(column, row) {
    const value = this.at(column, this.rows[row]);
    const [first, last] = [this.columns.first[column], this.columns.last[column]];
    const where = first === last ? stepName(this.m, first) : `mean over steps ${first}–${last} “${visible(this.columns.names[column], 24)}”`;
    const unit = this.numbers ? `, unit ${this.numbers[this.rows[row]]}` : "";
    return element("span", {}, element("bdi", {}, where), `${unit}: `, element("b", {}, Number.isNaN(value) ? "blank" : shownNumber(Number(value.toPrecision(4)))));
  }

  /* The column and row under the pointer, or null. */
  under(event) {
    const column = Math.floor((event.offsetX - AXIS + this.scroll.scrollLeft) / this.cell);
    const row = this.numbers ? Math.floor((event.offsetY - this.top) / this.row) : 0;
    if (event.offsetX < AXIS || column < 0 || column >= this.count || row >= this.rows.length) return null;
    return { column, row };
  }

  hover(event) {
    const under = this.under(event);
    this.tip.hidden = !under || under.row < 0;
    if (this.tip.hidden) return;
    this.tip.replaceChildren(this.sentence(under.column, under.row));
    const box = this.element.getBoundingClientRect();
    this.tip.style.left = `${Math.max(4, Math.min(event.clientX - box.left + 12, box.width - this.tip.offsetWidth - 4))}px`;
    this.tip.style.top = `${event.clientY - box.top + 16}px`;
  }

  choose(event) {
    const under = this.under(event);
    if (under) this.mark(under.column, under.row);
  }

  /* A word is marked by its last step, after which the network has read it. */
  mark(column, row) {
    const unit = this.numbers && row >= 0 ? unitChange(this.m, this.layer, this.direction, this.numbers[this.rows[row]]) : {};
    change({ step: this.columns.last[column], ...unit });
  }

  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], Home: [-Infinity, 0], End: [Infinity, 0] };
    const move = moves[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const row = this.chosenRow();
    const limited = (value, count) => Math.min(count - 1, Math.max(0, value));
    // The first key marks the first step, unless it asks for the last one.
    const from = state.step < 0 ? Math.min(0, -move[0]) : this.columns.of[inside(state.step, MODELS[this.m].steps)];
    const column = limited(Number.isFinite(move[0]) ? from + move[0] : move[0], this.count);
    this.mark(column, row < 0 && !move[1] ? -1 : limited(Math.max(0, row) + (row < 0 ? 0 : move[1]), this.rows.length));
    this.bring(column);
  }

  /* Scroll so that a column is in view. */
  bring(column) {
    const [from, to] = [column * this.cell, (column + 1) * this.cell];
    const room = this.width - AXIS;
    if (from < this.scroll.scrollLeft) this.scroll.scrollLeft = from;
    else if (to > this.scroll.scrollLeft + room) this.scroll.scrollLeft = to - room;
  }

  savePng() {
    const head = 22;
    const width = Math.min(16000, AXIS + this.total + 2);
    const canvas = element("canvas", { width: Math.ceil(width), height: Math.ceil(this.height + head) });
    const ctx = canvas.getContext("2d");
    ctx.fillStyle = styled("--paper");
    ctx.fillRect(0, 0, canvas.width, canvas.height);
    ctx.translate(0, head);
    ctx.save();
    this.paint(ctx, 0, width);
    ctx.restore();
    ctx.font = BOLD_FONT;
    ctx.textAlign = "left";
    ctx.textBaseline = "alphabetic";
    ctx.fillStyle = styled("--ink");
    ctx.fillText(`${this.title}, ${shownNumber(this.scale[0])} to ${shownNumber(this.scale[1])}`, 4, -8);
    canvas.toBlob((blob) => save(`${this.title.replaceAll(/[^\w.-]+/g, "_").slice(0, 80) || "map"}.png`, blob));
  }
}
