/**
 * The live view: rates, latencies, lag and circuit breakers, from the differences between readings of `/metrics`.
 */

import { Problem, request, requestJson } from "./api.js";
import { Chart } from "./chart.js";
import { byId, fill, setText } from "./elements.js";
import { duration, figure, whole } from "./format.js";
import { currentHealth } from "./health.js";
import { adviceOn } from "./notices.js";
import { startPolling } from "./polling.js";
import { parseMetrics, quantileOf, sums } from "./prometheus.js";
import { Readings } from "./readings.js";

/** @typedef {import("./readings.js").Interval} Interval */
/** @typedef {import("./prometheus.js").Reading} Reading */

const PACE_MS = 2000;
const PROBE_MS = 10_000;
const PATIENCE_MS = 5000;
const MOST_OPERATIONS = 7;
/** Those that work on keys, by their names in the API's description. The rest is people, probes and this page looking on. */
const KEY_OPERATIONS = new Set(["putValue", "getValue", "deleteValue", "putRawValue", "getRawValue", "deleteRawValue", "listKeys", "deleteKeys", "runBatch"]);
/** What the numbers of a channel are called here. @type {Record<string, string>} */
const STATES = { waiting: "waiting", unsettled: "in hand" };
const OTHERS = "everything else";
/** What failures are called, by their status or its first digit. */
const FAILURES = new Map([
  ["5", "5xx: not served"],
  ["429", "429: over its rate"],
  ["401", "401, 403: not allowed"],
  ["403", "401, 403: not allowed"],
  ["4", "400 and other 4xx: not valid"],
]);
/** Refusals that are answers: there is no such key, the condition does not hold. */
const ORDINARY = new Set(["404", "412"]);
const DURATION = "kvcore_http_request_duration_seconds";

const charts = {
  requests: new Chart({ caption: "Requests per second", empty: "No requests yet.", hidesZero: true }),
  latency: new Chart({ caption: "Latency (ms)", empty: "No requests for keys in the last seconds." }),
  hits: new Chart({ caption: "Cache hit ratio", empty: "No reads in the last seconds.", atLeast: 1, shown: percent, heading: "Lowest", isLowest: true }),
  lag: new Chart({ caption: "Lag", empty: "Not known yet.", shown: seconds }),
  breakers: new Chart({ caption: "Circuit breakers", empty: "Not known yet.", atLeast: 1, shown: breakerState, heading: "At worst" }),
  queue: new Chart({ caption: "Queue depth", empty: "Not known yet.", shown: whole }),
  failures: new Chart({ caption: "Refused and failed requests per second", empty: "None in the last five minutes.", hidesZero: true }),
};
const readings = new Readings();

let isShown = false;
let pollNow = () => {};
let probeNow = () => {};
/** @typedef {{depth: Map<string, number>, workers: Map<string, number>}} Queue messages by channel and state, and workers by channel */

/** What the administration said of the queue last; null: nothing. @type {{lag: number | null, queue: Queue | null, why: string} | null} */
let probed = null;

/** Let the view work. The metrics are read whichever view is shown, so that there is a history when somebody looks. */
export function startLive() {
  fill(byId("figures"), ...Object.values(charts).map((chart) => chart.figure));
  charts.failures.remark("Answers 4xx and 5xx, but for 404 (no such key) and 412 (a condition that does not hold), which are ordinary.");
  pollNow = startPolling(poll, PACE_MS);
  probeNow = startPolling(probe, PROBE_MS);
}

/** @param {boolean} isNow whether the view is shown */
export function showLive(isNow) {
  isShown = isNow;
  if (isNow) probeNow();
}

/** Ask again at once: with another token there may be more to see. */
export function refreshLive() {
  pollNow();
  probeNow();
}

async function poll() {
  try {
    const answer = await request("/metrics", { isQuiet: true, patienceMs: PATIENCE_MS });
    const reading = parseMetrics(await answer.text());
    const interval = readings.add(reading, Date.now());
    showBreakers(reading);
    if (interval !== null) showInterval(interval);
    showQueue(reading, interval);
    setText(byId("live-note"), noteOn());
    if (isShown && probed === null) probeNow(); // until the health is known, there is no telling whether there is a queue
    return true;
  } catch (error) {
    const problem = error instanceof Problem ? `${error.title}: ${error.detail} ${adviceOn(error)}` : "The answer broke off.";
    setText(byId("live-note"), `The metrics cannot be read now. ${problem}`);
    return error instanceof Problem && error.status > 0;
  }
}

function noteOn() {
  if (readings.areMixed()) {
    return "Answers come from several nodes in turn, so the numbers are those of one, then of another. Open the console at the address of a node to see one of them.";
  }
  return "Of this node, every two seconds, over the last ten; the highest of the last five minutes. Latencies are those of requests for keys.";
}

// --- what is counted ------------------------------------------------------------------------------------------------

/** @param {Interval} interval */
function showInterval(interval) {
  const perSecond = (/** @type {number} */ count) => count / interval.seconds;
  const requests = interval.increases(`${DURATION}_count`);
  charts.requests.add(mapped(mostCommon(sums(requests, "operation")), perSecond));
  charts.failures.add(mapped(failures(sums(requests, "status")), perSecond));
  const buckets = interval.increases(`${DURATION}_bucket`).filter(({ labels }) => KEY_OPERATIONS.has(labels.operation));
  charts.latency.add(quantiles(buckets, 1000));
  charts.hits.add(new Map([["hits of all reads", hitRatio(sums(interval.increases("kvcore_cache_reads_total"), "result"))]]));
}

/**
 * Return the counts of the operations on keys, and that of all others together.
 *
 * @param {Map<string, number>} counts
 */
function mostCommon(counts) {
  const ofKeys = [...counts].filter(([name]) => KEY_OPERATIONS.has(name)).sort(([, one], [, other]) => other - one);
  const named = new Map(ofKeys.slice(0, MOST_OPERATIONS));
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const left = total - [...named.values()].reduce((sum, count) => sum + count, 0);
  return counts.size === 0 ? named : named.set(OTHERS, left);
}

/** @param {Map<string, number>} counts by status */
function failures(counts) {
  const found = new Map([...FAILURES.values()].map((name) => [name, 0]));
  for (const [status, count] of counts) {
    const name = FAILURES.get(status) ?? FAILURES.get(status[0]);
    if (name !== undefined && !ORDINARY.has(status)) found.set(name, (found.get(name) ?? 0) + count);
  }
  return found;
}

/** @param {Map<string, number>} counts by result */
function hitRatio(counts) {
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  return total === 0 ? null : ((counts.get("hit") ?? 0) + (counts.get("negative") ?? 0)) / total;
}

/**
 * @param {import("./prometheus.js").Sample[]} buckets
 * @param {number} factor
 * @returns {Map<string, number | null>}
 */
function quantiles(buckets, factor) {
  const of = (/** @type {number} */ part) => {
    const value = quantileOf(buckets, part);
    return value === null ? null : value * factor;
  };
  return new Map([["p50", of(0.5)], ["p99", of(0.99)]]);
}

/** @param {Reading} reading */
function showBreakers(reading) {
  const open = sums(reading.get("kvcore_breaker_open"), "tier");
  charts.breakers.add(mapped(open, (count) => Math.min(1, count)));
}

// --- the queue ------------------------------------------------------------------------------------------------------

/**
 * @param {Reading} reading
 * @param {Interval | null} interval
 */
function showQueue(reading, interval) {
  const hasWorker = [...sums(reading.get("kvcore_lag_seconds_count"), "").values()].some((count) => count > 0);
  const inMetrics = queueIn(reading);
  const queue = inMetrics.depth.size > 0 ? inMetrics : (probed?.queue ?? null);
  if (hasWorker && interval !== null) charts.lag.add(quantiles(interval.increases("kvcore_lag_seconds_bucket"), 1));
  else if (!hasWorker && probed?.lag !== undefined) charts.lag.add(new Map([["a probe's way through", probed?.lag ?? null]]));
  if (queue !== null) charts.queue.add(queue.depth);
  sayWorkers(queue?.workers ?? new Map());
  const why = whyUnknown();
  charts.lag.say(hasWorker ? "No writes in the last seconds." : why);
  charts.queue.say(why);
}

/**
 * Say how many workers there are on each channel, and loudly where there is none.
 *
 * @param {Map<string, number>} workers
 */
function sayWorkers(workers) {
  const idle = [...workers].filter(([, count]) => count === 0).map(([channel]) => channel);
  const numbers = [...workers].map(([channel, count]) => `${whole(count)} for ${channel}`);
  if (idle.length > 0) charts.queue.remark(`No worker for ${idle.join(" and ")}: what the queue has is kept, and gets nowhere until one runs (kvctl worker).`, true);
  else charts.queue.remark(numbers.length > 0 ? `Workers: ${numbers.join(", ")}.` : "");
}

/**
 * @param {Reading} reading
 * @returns {Queue} empty where the metrics say nothing of it
 */
function queueIn(reading) {
  /** @type {Queue} */
  const { depth, workers } = { depth: new Map(), workers: new Map() };
  // Each process tells what it sees of the whole queue, or what it has in hand itself: the most is what is known.
  for (const { labels, value } of reading.get("kvcore_queue_messages") ?? []) {
    const name = `${labels.channel}, ${STATES[labels.state] ?? labels.state}`;
    depth.set(name, Math.max(value, depth.get(name) ?? 0));
  }
  for (const { labels, value } of reading.get("kvcore_queue_consumers") ?? []) workers.set(labels.channel, Math.max(value, workers.get(labels.channel) ?? 0));
  return { depth, workers };
}

function whyUnknown() {
  const health = currentHealth();
  if (health !== null && !("queue" in health.components)) return "This node has no queue: a write is in the store when it is answered.";
  return probed?.why || "Not known yet.";
}

async function probe() {
  const health = currentHealth();
  if (!isShown || health === null || !("queue" in health.components)) return true;
  try {
    const ask = /** @type {const} */ ({ isQuiet: true, scope: "admin", patienceMs: PROBE_MS });
    const queue = queueOf((await requestJson("/admin/queue", ask)).data);
    const isDrained = queue.workers.get("writes") !== 0; // else a probe would stay in the queue, and the next one too
    const lag = isDrained ? await requestJson("/admin/queue/lag", ask).catch(() => null) : null;
    const why = isDrained ? "A probe did not come through the queue within 5 s." : "There is no worker, so nothing comes through the queue.";
    probed = { lag: lag?.data.lag_s ?? null, queue, why: lag === null ? why : "" };
  } catch (error) {
    const problem = /** @type {Problem} */ (error);
    const isRefused = problem.status === 401 || problem.status === 403;
    probed = { lag: null, queue: null, why: isRefused ? "No worker runs in this node, and the queue is shown to tokens with the scope “admin” only." : `${problem.title}: ${problem.detail}` };
  }
  return true;
}

/**
 * @param {{channels: Record<string, Record<string, number | null>>}} data
 * @returns {Queue}
 */
function queueOf({ channels }) {
  /** @type {Queue} */
  const { depth, workers } = { depth: new Map(), workers: new Map() };
  for (const [channel, numbers] of Object.entries(channels)) {
    if (typeof numbers.consumers === "number") workers.set(channel, numbers.consumers);
    for (const [state, name] of Object.entries(STATES)) if (typeof numbers[state] === "number") depth.set(`${channel}, ${name}`, numbers[state]);
  }
  return { depth, workers };
}

// --- numbers --------------------------------------------------------------------------------------------------------

/**
 * @param {Map<string, number>} values
 * @param {(value: number) => number} change
 */
function mapped(values, change) {
  return new Map([...values].map(([name, value]) => [name, change(value)]));
}

/** @param {number | null | undefined} value */
function percent(value) {
  return typeof value === "number" ? `${figure(value * 100)} %` : "–";
}

/** @param {number | null | undefined} value */
function seconds(value) {
  if (typeof value !== "number") return "–";
  if (value >= 60) return duration(value);
  return value < 0.9995 ? `${figure(value * 1000)} ms` : `${figure(value)} s`;
}

/** @param {number | null | undefined} value */
function breakerState(value) {
  if (typeof value !== "number") return "–";
  return value > 0 ? "open" : "closed";
}
