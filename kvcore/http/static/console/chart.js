/**
 * Figures: lines over the last five minutes, and beside them a table with the same in numbers, which also is their legend.
 */

import { element, fill, setText } from "./elements.js";
import { duration, figure as shownNumber } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 100;
const COLOURS = 8;
const WINDOW_MS = 5 * 60_000;
const LEAST_MS = 60_000;

/** @typedef {{at: number, values: Map<string, number | null>}} Point what was measured at a moment, by series; null: nothing */

/**
 * @typedef {object} Plan
 * @property {string} caption
 * @property {string} [empty] what to say while there is nothing to show
 * @property {number} [atLeast] the smallest value that the axis ends with
 * @property {(value: number | null | undefined) => string} [shown] how a value is written
 * @property {string} [heading] of the column with the extreme
 * @property {boolean} [isLowest] whether the extreme that matters is the lowest
 * @property {boolean} [hidesZero] whether series that were 0 all the time are left out
 */

export class Chart {
  /** @param {Plan} plan */
  constructor({ caption, empty = "Nothing yet.", atLeast = 0, shown = shownNumber, heading = "Highest", isLowest = false, hidesZero = false }) {
    this.empty = empty;
    this.isLowest = isLowest;
    this.hidesZero = hidesZero;
    this.atLeast = atLeast;
    this.shown = shown;
    /** @type {Point[]} */
    this.points = [];
    /** @type {string[]} the series that were ever seen, so that each keeps its colour */
    this.names = [];
    const id = `chart-${caption.toLowerCase().replace(/[^a-z]+/g, "-")}`;
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("aria-hidden", "true"); // the table says it
    this.top = element("span", { class: "top" });
    this.from = element("span", { class: "from" });
    this.rows = element("tbody");
    this.note = element("p", { class: "note" });
    this.remarked = element("p", { role: "status", class: "note" });
    const head = element("tr", {}, element("th", { scope: "col" }, "Series"), element("th", { scope: "col", class: "number" }, "Now"), element("th", { scope: "col", class: "number" }, heading));
    this.table = element("table", { "aria-labelledby": id }, element("thead", {}, head), this.rows);
    this.plot = element("div", { class: "plot", "aria-hidden": "true" }, this.svg, this.top, this.from, element("span", { class: "to" }, "now"));
    this.figure = element("figure", { "aria-labelledby": id }, element("figcaption", { id }, caption), this.plot, this.table, this.note, this.remarked);
    this.draw();
  }

  /**
   * Add what was measured now; forget what is older than the window.
   *
   * @param {Map<string, number | null>} values
   * @param {number} at Unix milliseconds
   */
  add(values, at = Date.now()) {
    this.points.push({ at, values });
    while (this.points[0].at < at - WINDOW_MS) this.points.shift();
    for (const name of values.keys()) if (!this.names.includes(name)) this.names.push(name);
    this.draw();
  }

  /**
   * Say what the numbers do not.
   *
   * @param {string} text
   */
  say(text) {
    this.empty = text;
    this.draw();
  }

  /**
   * Say what belongs to the numbers and is no line among them.
   *
   * @param {string} text
   * @param {boolean} isAlarming
   */
  remark(text, isAlarming = false) {
    setText(this.remarked, text);
    this.remarked.className = isAlarming ? "alert" : "note";
  }

  draw() {
    const names = this.names.filter((name) => this.numbers(name).some((value) => !this.hidesZero || value > 0));
    const isEmpty = names.length === 0;
    this.plot.hidden = this.table.hidden = isEmpty;
    this.note.textContent = isEmpty ? this.empty : "";
    this.note.hidden = !isEmpty;
    const most = Math.max(this.atLeast, ...names.flatMap((name) => this.numbers(name)));
    this.top.textContent = this.shown(most);
    this.from.textContent = `${duration(this.span() / 1000)} ago`;
    fill(this.svg, ...[0, 0.5, 1].map((part) => gridLine(part * HEIGHT)), ...names.flatMap((name) => this.lines(name, most || 1)));
    fill(this.rows, ...names.map((name) => this.row(name)));
  }

  /** Return how long the time is that is drawn: what is known, from one minute to the whole window. */
  span() {
    const [first, last] = [this.points[0]?.at ?? 0, this.points.at(-1)?.at ?? 0];
    return Math.min(WINDOW_MS, Math.max(LEAST_MS, last - first));
  }

  /**
   * Return what was measured of a series.
   *
   * @param {string} name
   */
  numbers(name) {
    return this.points.map(({ values }) => values.get(name)).filter(isNumber);
  }

  /** @param {string} name */
  row(name) {
    const swatch = element("span", { class: `swatch ${this.colour(name)}`, "aria-hidden": "true" });
    const now = this.points.at(-1)?.values.get(name);
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, swatch, name),
      element("td", { class: "number" }, this.shown(now)),
      element("td", { class: "number" }, this.shown((this.isLowest ? Math.min : Math.max)(...this.numbers(name)))),
    );
  }

  /**
   * Return what is drawn of a series: lines, and dots where nothing was measured just before and after.
   *
   * @param {string} name
   * @param {number} most
   */
  lines(name, most) {
    const stretches = this.stretches(name, most);
    const dots = stretches.filter(({ length }) => length === 1).map(([place]) => `M${place}h0`);
    const lines = stretches.filter(({ length }) => length > 1).map((places) => `M${places.join("L")}`);
    return [
      shape("path", { d: lines.join(""), class: `line ${this.colour(name)}` }),
      shape("path", { d: dots.join(""), class: `line dot ${this.colour(name)}` }),
    ];
  }

  /**
   * Return the places of a series in the drawing, in a new list after each gap.
   *
   * @param {string} name
   * @param {number} most
   */
  stretches(name, most) {
    const end = this.points.at(-1)?.at ?? 0;
    /** @type {string[][]} */
    const stretches = [[]];
    for (const { at, values } of this.points) {
      const value = values.get(name);
      const x = WIDTH * (1 + (at - end) / this.span());
      if (isNumber(value)) stretches.at(-1)?.push(`${x.toFixed(2)} ${(HEIGHT * (1 - Math.min(1, value / most))).toFixed(2)}`);
      else stretches.push([]);
    }
    return stretches;
  }

  /** @param {string} name */
  colour(name) {
    return `series-${this.names.indexOf(name) % COLOURS}`;
  }
}

/** @param {number} y */
function gridLine(y) {
  return shape("path", { d: `M0 ${y}H${WIDTH}`, class: "grid" });
}

/**
 * @param {string} name
 * @param {Record<string, string>} attributes
 */
function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
}

/**
 * @param {number | null | undefined} value
 * @returns {value is number}
 */
function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}
