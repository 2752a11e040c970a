// A chart of lines by uPlot, in the colours of the page, as wide as its place.

import uPlot from "./vendor/uPlot.esm.js";

const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];
const charts = new Set();
const colour = (name) => getComputedStyle(document.querySelector(".live")).getPropertyValue(name).trim();

// The colours of a canvas do not follow the page by themselves. Charts that have left the page are forgotten.
new MutationObserver(() => {
  for (const chart of charts) chart.place.isConnected ? chart.plot.redraw() : charts.delete(chart);
}).observe(document.body, { attributes: true, attributeFilter: ["data-md-color-scheme"] });

/** A chart of `series`, each {name, colour, dots, dashes}, where colour is 1 to 4. `logarithmic` is the scale of y. */
export class Chart {
  constructor(parent, { title, x, series, logarithmic = false, height = 220 }) {
    const figure = document.createElement("figure");
    figure.className = "live-chart";
    const named = series.filter((one) => one.name);
    const entry = (one) => `<li><span class="${one.dots ? "dots" : one.dashes ? "dashes" : "line"}"
      style="color: var(--live-${one.colour})"></span>${one.name}</li>`;
    figure.innerHTML = `<figcaption>${title}<ul>${named.map(entry).join("")}</ul></figcaption><div role="img" aria-label="${title}"></div>`;
    parent.append(figure);
    this.title = title;
    this.logarithmic = logarithmic;
    this.place = figure.querySelector("div");
    const axis = {
      stroke: () => colour("--live-text"),
      grid: { stroke: () => colour("--live-line"), width: 1 },
      ticks: { show: false },
      font: "12px sans-serif",
      labelFont: "12px sans-serif",
    };
    const label = (tick) => shortened(logarithmic ? 10 ** tick : tick);
    this.plot = new uPlot(
      {
        width: this.place.clientWidth || 300,
        height,
        legend: { show: false },
        cursor: { show: false },
        scales: { x: { time: false } },
        axes: [
          { ...axis, label: x, labelSize: 20, size: 30, incrs: WHOLE },
          { ...axis, size: 62, values: (_, ticks) => ticks.map(label), ...(logarithmic && { incrs: WHOLE }) },
        ],
        series: [{}, ...series.map(drawn)],
        hooks: { draw: [(plot) => this.drawMark(plot)] },
      },
      [[]],
      this.place,
    );
    charts.add(this);
    new ResizeObserver(() => {
      const width = this.place.clientWidth;
      if (width && width !== this.plot.width) this.plot.setSize({ width, height });
    }).observe(this.place);
  }

  /** Draw numbers: the x of all lines, then the y of each. `summary` says in words what is seen; `mark` is an x to mark. */
  show(data, summary, mark = null) {
    this.mark = mark;
    this.place.setAttribute("aria-label", `${this.title}: ${summary}`);
    const [xs, ...lines] = data;
    this.plot.setData([xs, ...(this.logarithmic ? lines.map((line) => line.map(Math.log10)) : lines)]);
  }

  /** Move the mark alone. */
  moveMark(mark, summary) {
    this.mark = mark;
    this.place.setAttribute("aria-label", `${this.title}: ${summary}`);
    this.plot.redraw(false);
  }

  drawMark(plot) {
    if (this.mark === null || this.mark === undefined) return;
    const at = plot.valToPos(this.mark, "x", true);
    plot.ctx.fillStyle = colour("--live-text");
    plot.ctx.fillRect(at - 1, plot.bbox.top, 2, plot.bbox.height);
  }
}

function drawn({ colour: number, dots, dashes }) {
  const stroke = () => colour(`--live-${number}`);
  const points = { show: Boolean(dots), size: 9, width: 2, stroke, fill: () => colour("--live-background") };
  return { stroke, width: 2, dash: dashes ? [6, 4] : undefined, paths: dots ? () => null : undefined, points };
}

/** A number in few characters. */
export function shortened(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-3) return value.toExponential(0);
  if (size >= 1e4) return value.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });
  return String(Number(value.toPrecision(4)));
}
