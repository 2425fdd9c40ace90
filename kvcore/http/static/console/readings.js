/**
 * Readings of `/metrics` of the last seconds, and how much has come between two of them.
 */

import { increases } from "./prometheus.js";

/** @typedef {import("./prometheus.js").Reading} Reading */
/** @typedef {import("./prometheus.js").Sample} Sample */

const SPAN_MS = 10_000;
const KEPT = 20;

/** What has come between an earlier reading and the last one. */
export class Interval {
  /**
   * @param {Reading} before
   * @param {Reading} now
   * @param {number} seconds between them
   */
  constructor(before, now, seconds) {
    this.before = before;
    this.now = now;
    this.seconds = seconds;
  }

  /**
   * Return by how much the counters of a name have grown.
   *
   * @param {string} name
   */
  increases(name) {
    return increases(this.before.get(name), this.now.get(name));
  }
}

/** The last readings. They are compared only with such of the same processes: behind a load balancer answers come from several. */
export class Readings {
  constructor() {
    /** @type {{at: number, reading: Reading, processes: string}[]} */
    this.kept = [];
  }

  /**
   * Add a reading, and return what has come during the last ten seconds; null: there is nothing yet to compare it with.
   *
   * @param {Reading} reading
   * @param {number} at Unix milliseconds
   * @returns {Interval | null}
   */
  add(reading, at) {
    const processes = processesIn(reading);
    const before = this.kept.find((kept) => kept.processes === processes && kept.at >= at - SPAN_MS - 500);
    this.kept.push({ at, reading, processes });
    if (this.kept.length > KEPT) this.kept.shift();
    return before ? new Interval(before.reading, reading, Math.max(0.001, (at - before.at) / 1000)) : null;
  }

  /** Tell whether answers have come from several nodes in turn: from one, then another, then the first again. */
  areMixed() {
    const turns = this.kept.map(({ processes }) => processes).filter((one, at, all) => one !== all[at - 1]);
    return new Set(turns).size < turns.length;
  }
}

/** @param {Reading} reading */
function processesIn(reading) {
  return (reading.get("process_start_time_seconds") ?? []).map(({ value }) => value).join();
}
