/**
 * What the state of the tiers means for reads and writes now, as docs/guarantees.md promises it.
 */

/** @typedef {"cache" | "queue" | "store"} Kind */
/** @typedef {{status: "up" | "down", backend: string, server?: string, breaker: string, ping_ms: number, detail?: string}} Tier */
/** @typedef {Partial<Record<Kind, Tier>>} Tiers */

/**
 * Say what a tier's state means.
 *
 * @param {Kind} kind
 * @param {Tiers} tiers
 */
export function meaningOf(kind, tiers) {
  const sentence = isDown(kind, tiers) ? DOWN[kind](tiers) : UP[kind](tiers);
  const breaker = tiers[kind]?.breaker;
  if (isDown(kind, tiers) || breaker === "closed" || breaker === undefined) return sentence;
  return `${sentence} It answers again, but calls have failed a moment ago: they are let through one at a time until one succeeds.`;
}

/**
 * Say what the state of all tiers means together.
 *
 * @param {"healthy" | "degraded" | "unhealthy"} status
 * @param {Tiers} tiers
 */
export function summaryOf(status, tiers) {
  const down = /** @type {Kind[]} */ (Object.keys(tiers)).filter((kind) => isDown(kind, tiers));
  if (status === "healthy") return "All tiers serve. Reads and writes go on as they should.";
  if (status === "unhealthy") return `Down: ${down.join(" and ")}. ${isDown("cache", tiers) ? "Nothing" : "Nothing but what is cached"} can be served; writes are refused with 503.`;
  if (down.length === 0) return "All tiers answer again. Calls have failed a moment ago, so a circuit breaker is not closed yet.";
  return `Down: ${down.join(" and ")}. The others go on.`;
}

/**
 * @param {Kind} kind
 * @param {Tiers} tiers
 */
function isDown(kind, tiers) {
  return tiers[kind]?.status === "down";
}

/** @type {Record<Kind, (tiers: Tiers) => string>} */
const UP = {
  cache: () => "Reads of what is cached are answered from here, also while the store is down.",
  queue: (tiers) =>
    isDown("store", tiers)
      ? "Plain writes are accepted and wait here for the store, until the queue is full."
      : "Plain writes are accepted here, and workers bring them to the store.",
  store: () => "It has every key. Reads that the cache cannot answer, listings and conditional writes are served.",
};

/** @type {Record<Kind, (tiers: Tiers) => string>} */
const DOWN = {
  cache: (tiers) =>
    isDown("store", tiers)
      ? "Reads are refused with 503: the store is down too."
      : "Reads go to the store instead: slower, and just as right. Writes go on. Nothing is lost.",
  queue: (tiers) =>
    isDown("store", tiers)
      ? "Writes are refused with 503: the store is down too."
      : "Writes go straight to the store, conditional ones too: slower, and answered 200 instead of 202. Reads go on. What was accepted before waits in the queue.",
  store: (tiers) => {
    const reads = isDown("cache", tiers)
      ? "Reads are refused with 503: the cache is down too."
      : "Reads of what is cached go on, other reads and listings get 503.";
    if (!("queue" in tiers)) return `${reads} Writes get 503: there is no queue that could keep them.`;
    if (isDown("queue", tiers)) return `${reads} Writes get 503: the queue is down too.`;
    return `${reads} Plain writes are accepted and wait in the queue, until it is full; conditional ones, and such with ack=stored, get 503.`;
  },
};
