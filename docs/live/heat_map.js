// A matrix as coloured squares: blue is positive, red is negative, and the strength is the share of the matrix's largest entry.

const SVG = "http://www.w3.org/2000/svg";

/** A number with two digits after the point and a real minus. */
export const signed = (value) => value.toFixed(2).replace(/^-(?!0\.00$)/, "−").replace("-", "");

/** A picture of a matrix of one shape. `show` gives it numbers, as often as they change. */
export class HeatMap {
  constructor(parent, title, rows, columns) {
    const figure = document.createElement("figure");
    figure.className = "live-map";
    figure.innerHTML = `<figcaption>${title} <small>${rows} × ${columns}</small></figcaption>
      <svg role="img" viewBox="0 0 ${columns} ${rows}" style="width: ${columns * (rows > 12 ? 0.7 : 1.1)}rem"></svg>`;
    parent.append(figure);
    this.title = figure.querySelector("figcaption").textContent.trim();
    this.svg = figure.querySelector("svg");
    this.cells = Array.from({ length: rows * columns }, (_, n) => {
      const cell = document.createElementNS(SVG, "rect");
      const [x, y] = [n % columns, Math.floor(n / columns)];
      for (const [name, value] of Object.entries({ x, y, width: 1, height: 1 })) cell.setAttribute(name, value);
      cell.append(document.createElementNS(SVG, "title"));
      return this.svg.appendChild(cell);
    });
  }

  /** Show the numbers of a matrix. Cells for which `marked(row, column)` holds are outlined. */
  show(matrix, marked = () => false) {
    const columns = this.svg.viewBox.baseVal.width;
    const numbers = matrix.flat();
    const largest = Math.max(...numbers.map(Math.abs), 1e-12);
    numbers.forEach((value, n) => {
      const [row, column] = [Math.floor(n / columns), n % columns];
      const strength = Math.round((100 * Math.abs(value)) / largest);
      this.cells[n].style.setProperty("--strength", `${strength}%`);
      const state = `${value < 0 ? "negative" : "positive"}${marked(row, column) ? " marked" : ""}`;
      if (this.cells[n].getAttribute("class") !== state) this.cells[n].setAttribute("class", state);
      this.cells[n].firstChild.textContent = `row ${row + 1}, column ${column + 1}: ${signed(value)}`;
    });
    const [least, most] = [Math.min(...numbers), Math.max(...numbers)].map(signed);
    this.svg.setAttribute("aria-label", `${this.title}, from ${least} to ${most}`);
  }
}
