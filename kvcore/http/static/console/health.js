/**
 * Health: the state in the header, and the view of the tiers with what it means.
 */

import { Problem, requestJson } from "./api.js";
import { byId, element, fill, fillFacts, setText } from "./elements.js";
import { duration, exactBytes, figure, timeOfDay } from "./format.js";
import { meaningOf, summaryOf } from "./meaning.js";
import { startPolling } from "./polling.js";

/** @typedef {import("./meaning.js").Kind} Kind */
/** @typedef {import("./meaning.js").Tier} Tier */

/**
 * @typedef {object} Health
 * @property {"healthy" | "degraded" | "unhealthy"} status
 * @property {Record<Kind, Tier>} components
 * @property {string} version
 * @property {string} node
 * @property {string} profile
 * @property {{max_key_bytes: number, max_value_bytes: number}} [limits]
 */

const PACE_MS = 2000;
const PATIENCE_MS = 3000;
const MOST_CHANGES = 50;
const STATUS = { healthy: "Healthy", degraded: "Degraded", unhealthy: "Unhealthy" };

/** @type {Health | null} */
let health = null;
/** @type {(first: Health) => void} */
let tellFirst = () => {};
/** @type {Promise<Health>} */
const first = new Promise((resolve) => (tellFirst = resolve));
/** What each thing was last, and since when: "node", and the tiers. @type {Map<string, {state: string, since: number, isFirst: boolean}>} */
const states = new Map();
let pollNow = () => {};

/** Return the health as it was seen last; null: not yet. */
export function currentHealth() {
  return health;
}

/** Return the health as it was seen last; where it was not yet, wait for it. */
export async function knownHealth() {
  return health ?? first;
}

/** Begin to look after the node. */
export function startHealth() {
  pollNow = startPolling(poll, PACE_MS);
}

/** Look at once: with another token there may be more to see. */
export function refreshHealth() {
  pollNow();
}

async function poll() {
  try {
    show(await read());
    return true;
  } catch (error) {
    const isClosed = error instanceof Problem && (error.status === 401 || error.status === 403);
    showNothing(isClosed ? "Token needed" : "Unreachable", /** @type {Error} */ (error).message);
    return isClosed;
  }
}

/** @returns {Promise<Health>} */
async function read() {
  try {
    return await requestJson("/health", { isQuiet: true, patienceMs: PATIENCE_MS });
  } catch (error) {
    // An unhealthy node answers 503, with the same document: it is no refusal.
    if (error instanceof Problem && error.document.components) return /** @type {Health} */ (error.document);
    throw error;
  }
}

/** @param {Health} seen */
function show(seen) {
  health = seen;
  tellFirst(seen);
  note("node", STATUS[seen.status]);
  for (const [kind, tier] of Object.entries(seen.components)) note(kind, stateOf(tier));
  showStatus(STATUS[seen.status]);
  setText(byId("health-summary"), summaryOf(seen.status, seen.components));
  fill(byId("tiers"), ...Object.keys(seen.components).map((kind) => article(/** @type {Kind} */ (kind), seen)));
  fillFacts(byId("node-facts"), factsOf(seen));
  setText(byId("node-name"), `kvcore ${seen.version}, node ${seen.node}, profile ${seen.profile}`);
}

/**
 * @param {string} status
 * @param {string} why
 */
function showNothing(status, why) {
  note("node", status);
  showStatus(status);
  setText(byId("health-summary"), `${why} ${health === null ? "" : "What follows is what was seen last."}`);
  byId("tiers").classList.add("old");
}

/** @param {string} status */
function showStatus(status) {
  const badge = byId("node-status");
  setText(badge, status);
  badge.className = status.toLowerCase().replace(" ", "-");
  byId("health-summary").className = `summary ${badge.className}`;
  if (status !== "Unreachable") byId("tiers").classList.remove("old");
}

/**
 * @param {Kind} kind
 * @param {Health} seen
 */
function article(kind, { components }) {
  const tier = components[kind];
  const isUp = tier.status === "up";
  const facts = element("dl", { class: "facts" });
  fillFacts(facts, [
    ["Status", element("span", { class: `state ${isUp ? "up" : "down"}` }, tier.status)],
    ["Backend", tier.backend],
    ["Server", tier.server || "–"],
    ["Circuit breaker", tier.breaker],
    ["Ping", `${figure(tier.ping_ms)} ms`],
    ["Since", sinceText(kind)],
  ]);
  const heading = `${kind[0].toUpperCase()}${kind.slice(1)}`;
  const id = `tier-${kind}`;
  return element(
    "article",
    { class: `panel tier ${isUp ? "up" : "down"}`, "aria-labelledby": id },
    element("h2", { id }, heading),
    facts,
    tier.detail ? element("p", { class: "detail" }, tier.detail) : null,
    element("p", {}, meaningOf(kind, components)),
    isUp ? null : element("p", {}, "What to do: run ", element("code", {}, "kvctl doctor"), " with the configuration of this node. It looks at the servers of each tier and says what is wrong."),
  );
}

/** @param {Health} seen */
function factsOf({ version, node, profile, limits }) {
  /** @type {[string, string][]} */
  const facts = [["Version", version], ["Node", node], ["Profile", profile]];
  if (limits) facts.push(["Largest key", exactBytes(limits.max_key_bytes)], ["Largest value", exactBytes(limits.max_value_bytes)]);
  return facts;
}

// --- what has changed -----------------------------------------------------------------------------------------------

/** @param {Tier} tier */
function stateOf({ status, breaker }) {
  return breaker === "closed" ? status : `${status}, breaker ${breaker}`;
}

/**
 * Note what state something is in, and tell of it where it was in another one.
 *
 * @param {string} name
 * @param {string} state
 */
function note(name, state) {
  const last = states.get(name);
  if (last?.state === state) return;
  states.set(name, { state, since: Date.now(), isFirst: last === undefined });
  if (last === undefined && ["Healthy", "up"].includes(state)) return;
  const rows = /** @type {HTMLElement} */ (document.querySelector("#changes tbody"));
  const time = element("time", { datetime: new Date().toISOString() }, timeOfDay(Date.now()));
  const change = last === undefined ? state : `${last.state} → ${state}`;
  rows.prepend(element("tr", {}, element("td", { class: "nowrap" }, time), element("td", {}, name), element("td", {}, change)));
  byId("changes-none").hidden = true;
  if (rows.children.length > MOST_CHANGES) rows.lastElementChild?.remove();
}

/** @param {string} name */
function sinceText(name) {
  const state = states.get(name);
  if (state === undefined || state.isFirst) return "before this page was opened";
  return `${timeOfDay(state.since)}, ${duration((Date.now() - state.since) / 1000)} ago`;
}
