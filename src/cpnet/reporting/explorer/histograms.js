"use strict";

// A histogram of a field that filters by brushing: `change(low, high)` gets the range, infinite where it is open.
class Histogram {
  constructor(field, change) {
    Object.assign(this, FIELDS[field], { change });
    this.all = draw("path", { class: "all" });
    this.some = draw("path", { class: "some" });
    this.brush = draw("rect", { class: "brush", y: 0, height: 100, width: 0 });
    this.svg = draw("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" });
    this.svg.append(this.all, this.some, this.brush);
    [this.from, this.to] = ["from", "to"].map((end) => make("input", {
      type: "number", step: "any", placeholder: end, ariaLabel: `${this.label} ${end}`, onchange: () => this.read(),
    }));
    this.node = make("fieldset", { id: `of-${field}` }, make("legend", { textContent: this.label }), this.svg);
    this.node.append(make("div", { className: "ends" }, this.from, this.to));
    this.svg.onpointerdown = (event) => this.press(event);
  }

  // Fit the bars to values; the last one holds all that are higher, if the axis has no end
  fit(values) {
    if (this.values === values) return;
    this.values = values;
    if (!this.high || this.fitted) {
      const usual = Float64Array.from(values).sort()[Math.floor(0.98 * (values.length - 1))];
      this.step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((step) => usual / step < 25) || usual / 25;
      this.high = this.step * (Math.floor(usual / this.step) + 1);
      this.fitted = true;
    }
    this.bars = Math.round((this.high - this.low) / this.step);
    // 1e-9, because 0.15 / 0.05 may be computed as 2.9999
    const barOf = (value) => Math.floor((value - this.low) / this.step + 1e-9);
    this.bar = Uint16Array.from(values, (value) => Math.min(Math.max(barOf(value), 0), this.bars - 1));
    this.all.setAttribute("d", this.path(values.keys()));
  }

  show(rows, [low, high]) {
    this.some.setAttribute("d", this.path(rows));
    this.mark(low, high);
    [this.from.value, this.to.value] = [low, high].map((end) => (Number.isFinite(end) ? `${+end.toFixed(4)}` : ""));
  }

  mark(low, high) {
    const [left, right] = [low, high].map((end) => 100 * Math.min(1, Math.max(0, (end - this.low) / (this.high - this.low))));
    const open = low === -Infinity && high === Infinity;
    this.brush.setAttribute("x", open ? 0 : left);
    this.brush.setAttribute("width", open ? 0 : Math.max(right - left, 0.5));
  }

  path(rows) {
    const counts = new Uint32Array(this.bars);
    for (const row of rows) counts[this.bar[row]]++;
    const most = Math.max(...counts) || 1, width = 100 / this.bars;
    return Array.from(counts, (count, bar) => {
      const height = count ? Math.max(2, 96 * count / most) : 0;
      return `M${bar * width + 0.1 * width},100v${-height}h${0.8 * width}v${height}z`;
    }).join("");
  }

  read() {
    this.change(this.from.value === "" ? -Infinity : +this.from.value, this.to.value === "" ? Infinity : +this.to.value);
  }

  // Brush from here to where the pointer is released, at edges of bars; a click clears
  press(event) {
    const { left, width } = this.svg.getBoundingClientRect();
    const at = ({ clientX }) => Math.min(this.bars, Math.max(0, (clientX - left) / width * this.bars));
    const first = at(event);
    let range = null;
    event.preventDefault();
    this.svg.setPointerCapture(event.pointerId);
    this.svg.onpointermove = (moved) => {
      const ends = [first, at(moved)].sort((one, other) => one - other);
      const [from, to] = [Math.floor(ends[0]), Math.ceil(ends[1])];
      if (!range && Math.abs(moved.clientX - event.clientX) < 3) return;
      const edge = (bar) => +(this.low + bar * this.step).toFixed(9);
      range = [from ? edge(from) : -Infinity, to < this.bars ? edge(to) : Infinity];
      this.change(...range);
    };
    this.svg.onpointerup = this.svg.onpointercancel = () => {
      this.svg.onpointermove = this.svg.onpointerup = this.svg.onpointercancel = null;
      if (!range) this.change(-Infinity, Infinity);
    };
  }
}
