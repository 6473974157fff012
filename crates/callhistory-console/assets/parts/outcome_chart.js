// Bars that are stacked by outcome, drawn by uPlot. A drag over them, or the keyboard, selects a range of bars.

import uPlot from "../vendor/uplot/uPlot.js";

/**
 * @typedef {object} ChartData
 * @property {string[]} labels of the bars
 * @property {Array<{ outcome: string, values: number[] }>} series from the bottom to the top
 */

const HEIGHT = 240;

/** @param {string} name @returns {string} a color of the style sheet, which a canvas cannot look up itself */
function color(name) {
  const probe = document.createElement("span");
  probe.className = `chart-color chart-color-${name}`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** `<outcome-chart>`: properties `data` and `format`; events `chart-range` {from, to}, `chart-hover` {index}, `chart-open` {index}. */
export class OutcomeChart extends HTMLElement {
  /** @type {ChartData | null} */
  #data = null;
  /** @type {uPlot | null} */
  #plot = null;
  /** @type {ResizeObserver | null} */
  #resize = null;
  #theme = new AbortController();
  /** @type {MutationObserver | null} */
  #switch = null;
  /** The bar of the keyboard, and the one where its selection began. */
  #at = -1;
  #anchor = -1;
  #hasDragged = false;
  /** @type {(value: number) => string} */
  formatCount = String;

  /** @param {ChartData | null} data */
  set data(data) {
    if (data === this.#data) return;
    this.#data = data;
    this.#at = this.#anchor = -1;
    this.#draw();
  }

  connectedCallback() {
    this.#theme = new AbortController();
    const redraw = () => this.#draw();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw, { signal: this.#theme.signal });
    this.#switch = new MutationObserver(redraw);
    this.#switch.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    this.#resize = new ResizeObserver(() => {
      if (this.clientWidth > 0) this.#plot?.setSize({ width: this.clientWidth, height: HEIGHT });
    });
    this.#resize.observe(this);
    this.addEventListener("keydown", this.#key);
    this.#draw();
  }

  disconnectedCallback() {
    this.#theme.abort();
    this.#switch?.disconnect();
    this.#resize?.disconnect();
    this.removeEventListener("keydown", this.#key);
    this.#plot?.destroy();
    this.#plot = null;
  }

  /** @param {string} name @param {object} detail */
  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  #draw() {
    const data = this.#data;
    this.#plot?.destroy();
    this.#plot = null;
    if (data === null || !this.isConnected || data.labels.length === 0) return;
    /** @type {number[]} */
    let below = data.labels.map(() => 0);
    const sums = data.series.map(({ values }) => (below = below.map((sum, index) => sum + (values[index] ?? 0))));
    // The tallest sum is drawn first, and each lower one over it.
    const order = data.series.map((one, index) => ({ outcome: one.outcome, sum: sums[index] ?? [] })).reverse();
    const bars = uPlot.paths.bars?.({ size: [0.8, 48], align: 0 });
    const rows = /** @type {uPlot.AlignedData} */ ([data.labels.map((_, index) => index), ...order.map(({ sum }) => sum)]);
    this.#plot = new uPlot({
      width: Math.max(this.clientWidth, 200),
      height: HEIGHT,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false } },
      scales: { x: { time: false, range: [-0.5, data.labels.length - 0.5] }, y: { range: (_, __, max) => [0, Math.max(max, 1)] } },
      axes: this.#axes(data),
      series: [{}, ...order.map(({ outcome }) => ({ label: outcome, fill: color(outcome), stroke: color(outcome), width: 0, ...(bars ? { paths: bars } : {}), points: { show: false } }))],
      hooks: { setSelect: [() => this.#selected()], setCursor: [() => this.#hovered()] },
    }, rows, this);
    this.#plot.over.addEventListener("mousedown", () => { this.#hasDragged = false; });
    this.#plot.over.addEventListener("click", () => this.#clicked());
  }

  /** @param {ChartData} data @returns {uPlot.Axis[]} */
  #axes(data) {
    const [stroke, grid] = [color("text"), color("grid")];
    const font = `12px ${getComputedStyle(this).fontFamily}`;
    return [
      {
        stroke, font, grid: { show: false }, ticks: { stroke: grid, size: 4 }, size: 30,
        splits: (plot) => {
          // A label is as wide as its letters; the longest one decides.
          const widest = Math.max(...data.labels.map((label) => label.length)) * 7 + 24;
          const room = Math.max(Math.floor((plot.width - 60) / widest), 1);
          const step = Math.max(Math.ceil(data.labels.length / room), 1);
          return data.labels.flatMap((_, index) => (index % step === 0 ? [index] : []));
        },
        values: (_, splits) => splits.map((index) => data.labels[index] ?? ""),
      },
      { stroke, font, grid: { stroke: grid, width: 1 }, ticks: { show: false }, size: 52, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7],
        values: (_, splits) => splits.map((value) => this.formatCount(value)) },
    ];
  }

  /** @param {number} index */
  #clamp(index) {
    return Math.min(Math.max(index, 0), (this.#data?.labels.length ?? 1) - 1);
  }

  #selected() {
    const plot = this.#plot;
    if (plot === null || plot.select.width < 4) return;
    const [from, to] = [plot.select.left, plot.select.left + plot.select.width].map((left) => plot.posToVal(left, "x"));
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.#hasDragged = true;
    this.#tell("chart-range", { from: this.#clamp(Math.round(from ?? 0)), to: this.#clamp(Math.round(to ?? 0)) });
  }

  #hovered() {
    const left = this.#plot?.cursor.left ?? -1;
    this.#tell("chart-hover", { index: left < 0 || this.#plot === null ? -1 : this.#clamp(Math.round(this.#plot.posToVal(left, "x"))) });
  }

  #clicked() {
    const left = this.#plot?.cursor.left ?? -1;
    if (!this.#hasDragged && left >= 0 && this.#plot !== null) this.#tell("chart-open", { index: this.#clamp(Math.round(this.#plot.posToVal(left, "x"))) });
  }

  /** Arrow keys move over the bars, with the shift key they select, Enter takes the selection. @param {KeyboardEvent} event */
  #key = (event) => {
    const count = this.#data?.labels.length ?? 0;
    /** @type {Record<string, number>} */
    const targets = { ArrowLeft: this.#at < 0 ? count - 1 : this.#at - 1, ArrowRight: this.#at + 1, Home: 0, End: count - 1 };
    const target = targets[event.key];
    if (count === 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" && this.#at >= 0) {
      const [from, to] = [Math.min(this.#anchor, this.#at), Math.max(this.#anchor, this.#at)];
      this.#tell(from === to ? "chart-open" : "chart-range", from === to ? { index: from } : { from, to });
    } else if (target !== undefined) {
      this.#at = this.#clamp(target);
      if (!event.shiftKey || this.#anchor < 0) this.#anchor = this.#at;
      this.#showSelection();
      this.#tell("chart-hover", { index: this.#at, from: Math.min(this.#anchor, this.#at), to: Math.max(this.#anchor, this.#at), isKey: true });
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };

  #showSelection() {
    const plot = this.#plot;
    if (plot === null) return;
    const [left, right] = [Math.min(this.#anchor, this.#at) - 0.5, Math.max(this.#anchor, this.#at) + 0.5].map((value) => plot.valToPos(value, "x"));
    plot.setSelect({ left: left ?? 0, width: (right ?? 0) - (left ?? 0), top: 0, height: plot.over.clientHeight }, false);
  }
}
if (customElements.get("outcome-chart") === undefined) customElements.define("outcome-chart", OutcomeChart);
