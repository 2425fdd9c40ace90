/**
 * Dead letters: what the store has refused, to be looked at, replayed or discarded.
 */

import { Problem, post, request, requestJson } from "./api.js";
import { button, byId, element, fill, fillFacts } from "./elements.js";
import { bytes, dateAndTime, exactBytes, expiry, plainKey, shownKey, stampedAt } from "./format.js";
import { knownHealth } from "./health.js";
import { indented, memberText } from "./json.js";
import { clearNotices, refuse, tell } from "./notices.js";
import { isAgreed } from "./question.js";
import { hexDump } from "./value.js";

/**
 * @typedef {object} Letter
 * @property {string} id
 * @property {string} key
 * @property {"put" | "delete"} op
 * @property {string} version
 * @property {string} reason
 * @property {number} size
 * @property {string} media_type
 * @property {string | null} expires_at
 * @property {string | null} condition
 */

const LIMIT = 1000;
const SHOWN_CHARACTERS = 20_000;

const rows = /** @type {HTMLElement} */ (document.querySelector("#letters-table tbody"));
const allBox = /** @type {HTMLInputElement} */ (byId("letters-all"));
/** @type {Map<string, HTMLInputElement>} */
const boxes = new Map();

/** Let the view work. */
export function startDeadLetters() {
  byId("letters-reload").addEventListener("click", () => {
    clearNotices();
    void listLetters();
  });
  allBox.addEventListener("change", () => {
    boxes.forEach((box) => (box.checked = allBox.checked));
    showChosen();
  });
  byId("replay-chosen").addEventListener("click", () => void replay(chosen()));
  byId("discard-chosen").addEventListener("click", () => void askToDiscard(chosen(), count(chosen().length)));
  byId("letter-close").addEventListener("click", () => {
    byId("letter").hidden = true;
  });
}

/** List them. */
export async function listLetters() {
  try {
    show((await requestJson(`/admin/dead-letters?limit=${LIMIT}`, { scope: "admin" })).data);
  } catch (error) {
    show([]);
    byId("letters-note").textContent = "";
    if (error instanceof Problem && error.status === 501) byId("letters-note").textContent = await whyNone(error);
    else refuse("letters-alert", error);
  }
}

/** @param {Problem} problem */
async function whyNone(problem) {
  const { components } = await knownHealth();
  if (!("queue" in components)) return "This node has no queue, and so no dead letters: what the store refuses is answered at once.";
  return `The queue of this node keeps no dead letters: ${problem.detail}.`;
}

/** @param {Letter[]} letters */
function show(letters) {
  boxes.clear();
  fill(rows, ...letters.map(row));
  allBox.checked = false;
  allBox.disabled = letters.length === 0;
  byId("letter").hidden = true;
  const count = `${letters.length} ${letters.length === 1 ? "dead letter" : "dead letters"}, the oldest first.`;
  byId("letters-note").textContent =
    letters.length === 0 ? "There are none: the store has refused nothing." : letters.length === LIMIT ? `The first ${count}` : count;
  showChosen();
}

/** @param {Letter} letter */
function row(letter) {
  const { id, key, op, reason, size, version } = letter;
  const keyId = `letter-key-${rowNumber()}`;
  const box = /** @type {HTMLInputElement} */ (element("input", { type: "checkbox", "aria-labelledby": keyId, change: showChosen }));
  boxes.set(id, box);
  const told = { "aria-describedby": keyId };
  return element(
    "tr",
    {},
    element("td", {}, box),
    element("th", { scope: "row", id: keyId, class: "key" }, ...shownKey(key)),
    element("td", { class: "wide" }, op),
    element("td", { class: "reason" }, reason),
    element("td", { class: "number wide" }, bytes(size)),
    element("td", { class: "nowrap wide" }, dateAndTime(stampedAt(version))),
    element(
      "td",
      { class: "actions" },
      button("Show", () => void open(letter), told),
      button("Replay", () => void replay([id], key), told),
      button("Discard", () => void askToDiscard([id], `the ${op} of ${plainKey(key)}`), { class: "danger", ...told }),
    ),
  );
}

let rowsMade = 0;

function rowNumber() {
  rowsMade += 1;
  return rowsMade;
}

function chosen() {
  return [...boxes].filter(([, box]) => box.checked).map(([id]) => id);
}

function showChosen() {
  const count = chosen().length;
  byId("letters-chosen").hidden = count === 0;
  byId("letters-count").textContent = `${count} selected`;
  allBox.indeterminate = count > 0 && count < boxes.size;
  allBox.checked = count > 0 && count === boxes.size;
}

/** @param {Letter} letter */
async function open(letter) {
  clearNotices();
  try {
    const answer = await request(`/admin/dead-letters/${encodeURIComponent(letter.id)}`, { scope: "admin" });
    const text = await answer.text();
    fill(byId("letter-key"), ...shownKey(letter.key));
    fillFacts(byId("letter-facts"), factsOf(letter));
    byId("letter-value").textContent = shownValue(text, letter);
    byId("letter").hidden = false;
    byId("letter").focus();
  } catch (error) {
    refuse("letters-alert", error);
  }
}

/** @param {Letter} letter */
function factsOf({ op, version, reason, size, media_type: mediaType, expires_at: expiresAt, condition }) {
  /** @type {[string, import("./elements.js").Child][]} */
  const facts = [["Write", op], ["Reason", reason], ["Version", element("code", {}, version)], ["Accepted", dateAndTime(stampedAt(version))]];
  if (op === "put") facts.push(["Size", exactBytes(size)], ["Media type", mediaType], ["Expires", expiry(expiresAt)]);
  if (condition) facts.push(["Condition", condition]);
  return facts;
}

/**
 * Return the value in an answer, as it was written where it is JSON.
 *
 * @param {string} text the answer
 * @param {Letter} letter
 */
function shownValue(text, { op }) {
  if (op === "delete") return "(a delete has none)";
  const json = memberText(text, "data", "value");
  const shown = json === null ? ofBase64(JSON.parse(text).data.value_base64 ?? "") : indented(json);
  return shown.length > SHOWN_CHARACTERS ? `${shown.slice(0, SHOWN_CHARACTERS)}…` : shown;
}

/** @param {string} base64 */
function ofBase64(base64) {
  return hexDump(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)));
}

/**
 * @param {string[]} ids
 * @param {string} [key] where there is one only
 */
async function replay(ids, key) {
  await act("replay", { ids }, ({ replayed }) => `Replayed ${key === undefined ? count(replayed) : plainKey(key)}: back in the queue, on the way to the store.`);
}

/** @param {string[]} ids */
async function discard(ids) {
  await act("discard", { ids }, ({ discarded }) => `Discarded ${count(discarded)}.`);
}

/**
 * @param {string[]} ids
 * @param {string} what
 */
async function askToDiscard(ids, what) {
  clearNotices();
  if (await isAgreed("Discard", `Discard ${what} for good? What was acknowledged is then lost.`)) await discard(ids);
}

/**
 * @param {"replay" | "discard"} action
 * @param {{ids: string[]}} body
 * @param {(data: any) => string} told
 */
async function act(action, body, told) {
  clearNotices();
  try {
    const { data } = await post(`/admin/dead-letters/${action}`, body);
    await listLetters();
    tell(told(data));
    byId("letters-reload").focus(); // the row that had the focus is gone
  } catch (error) {
    refuse("letters-alert", error);
  }
}

/** @param {number} number */
function count(number) {
  return `${number} ${number === 1 ? "dead letter" : "dead letters"}`;
}
