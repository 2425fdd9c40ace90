/**
 * Reading Prometheus' text format, and what can be said of the difference between two readings.
 */

/** @typedef {{labels: Record<string, string>, value: number}} Sample */
/** @typedef {Map<string, Sample[]>} Reading samples by name */

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
/** @type {Record<string, string>} */
const ESCAPES = { "\\n": "\n", '\\"': '"', "\\\\": "\\" };

/**
 * @param {string} text
 * @returns {Reading}
 */
export function parseMetrics(text) {
  /** @type {Reading} */
  const reading = new Map();
  for (const line of text.split("\n")) {
    const found = line.startsWith("#") ? null : SAMPLE.exec(line);
    if (found === null) continue;
    const [, name, labels = "", value] = found;
    const samples = reading.get(name) ?? [];
    samples.push({ labels: parseLabels(labels), value: numberOf(value) });
    reading.set(name, samples);
  }
  return reading;
}

/** @param {string} text */
function parseLabels(text) {
  /** @type {Record<string, string>} */
  const labels = {};
  for (const [, name, value] of text.matchAll(LABEL)) labels[name] = value.replace(/\\./g, (escape) => ESCAPES[escape] ?? escape);
  return labels;
}

/** @param {string} text */
function numberOf(text) {
  if (text === "+Inf") return Infinity;
  return text === "-Inf" ? -Infinity : Number(text);
}

/**
 * Return what is left of samples: their values by one label, added up over all others, those of other processes included.
 *
 * @param {Sample[] | undefined} samples
 * @param {string} label
 * @param {(labels: Record<string, string>) => boolean} isMeant
 * @returns {Map<string, number>}
 */
export function sums(samples, label, isMeant = () => true) {
  /** @type {Map<string, number>} */
  const added = new Map();
  for (const { labels, value } of samples ?? []) {
    if (!isMeant(labels) || Number.isNaN(value)) continue;
    const name = labels[label] ?? "";
    added.set(name, (added.get(name) ?? 0) + value);
  }
  return added;
}

/**
 * Return by how much counters have grown. One that is lower than before has begun anew, and all of it has come since.
 *
 * @param {Sample[] | undefined} before
 * @param {Sample[] | undefined} now
 * @returns {Sample[]}
 */
export function increases(before, now) {
  const earlier = new Map((before ?? []).map(({ labels, value }) => [identity(labels), value]));
  return (now ?? []).map(({ labels, value }) => {
    const was = earlier.get(identity(labels)) ?? 0;
    return { labels, value: value < was ? value : value - was };
  });
}

/** @param {Record<string, string>} labels */
function identity(labels) {
  return JSON.stringify(Object.entries(labels).sort());
}

/**
 * Return a quantile of what has come into the buckets of histograms, all together; null where nothing has.
 *
 * @param {Sample[]} buckets increases of `…_bucket`
 * @param {number} quantile 0 to 1
 * @returns {number | null}
 */
export function quantileOf(buckets, quantile) {
  const bounds = [...sums(buckets, "le")].map(([bound, count]) => ({ bound: numberOf(bound), count }));
  bounds.sort((one, other) => one.bound - other.bound);
  const total = bounds.at(-1)?.count ?? 0;
  if (total === 0) return null;
  const rank = quantile * total;
  let lower = { bound: 0, count: 0 };
  for (const upper of bounds) {
    if (upper.count >= rank) {
      if (upper.bound === Infinity) return lower.bound; // all that is known is that it is above
      const share = upper.count === lower.count ? 1 : (rank - lower.count) / (upper.count - lower.count);
      return lower.bound + (upper.bound - lower.bound) * share;
    }
    lower = upper;
  }
  return lower.bound;
}
