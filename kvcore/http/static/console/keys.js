/**
 * The list of keys by their prefix, in pages.
 */

import { requestJson } from "./api.js";
import { openKey, startEditor } from "./editor.js";
import { button, byId, element } from "./elements.js";
import { bytes, countDown, expiry, plainKey, shownKey } from "./format.js";
import { clearNotices, refuse } from "./notices.js";

/** @typedef {{key: string, version: string, size: number, media_type: string, expires_at: string | null}} Line */

const PAGE_KEYS = 100;
const MOST_KEYS = 1000;
const BESIDE = matchMedia("(min-width: 70rem)");
const QUEUE_MS = 1000;

const prefixField = /** @type {HTMLInputElement} */ (byId("prefix"));
const moreButton = /** @type {HTMLButtonElement} */ (byId("more"));
const rows = /** @type {HTMLElement} */ (document.querySelector("#keys-table tbody"));

/** The prefix of what is listed: that in the field may be another one already. */
let prefix = "";
/** @type {string | null} */
let cursor = null;
/** Counts the listings, so that a page that comes late is not added to another one. */
let turn = 0;

/** Let the view work. */
export function startKeys() {
  byId("list-form").addEventListener("submit", (event) => {
    event.preventDefault();
    clearNotices();
    prefix = prefixField.value;
    void list();
  });
  moreButton.addEventListener("click", () => {
    clearNotices();
    void more();
  });
  startEditor(onChange);
  setInterval(countDown, 1000);
}

/**
 * List from the beginning.
 *
 * @param {number} limit
 */
export async function list(limit = PAGE_KEYS) {
  turn += 1;
  await page(limit, null);
}

/**
 * @param {string} key
 * @param {boolean} isStored
 */
function onChange(key, isStored) {
  if (!key.startsWith(prefix)) return;
  // What the queue has is in the listing once a worker has brought it to the store.
  setTimeout(() => void list(Math.min(MOST_KEYS, Math.max(PAGE_KEYS, rows.children.length))), isStored ? 0 : QUEUE_MS);
}

async function more() {
  const before = rows.children.length;
  moreButton.disabled = true;
  await page(PAGE_KEYS, cursor);
  moreButton.disabled = false;
  rows.children[before]?.querySelector("button")?.focus();
}

/**
 * @param {number} limit
 * @param {string | null} after the cursor of the page before; null: the first page
 */
async function page(limit, after) {
  const asked = turn;
  const query = new URLSearchParams({ prefix, limit: String(limit), ...(after === null ? {} : { cursor: after }) });
  byId("keys-table").setAttribute("aria-busy", "true");
  try {
    const found = await requestJson(`/keys?${query}`, { scope: "read" });
    if (asked === turn) show(found.data, found.cursor, after !== null);
  } catch (error) {
    if (asked === turn) refuse("list-alert", error);
  } finally {
    byId("keys-table").removeAttribute("aria-busy");
  }
}

/**
 * @param {Line[]} lines
 * @param {string | null} next
 * @param {boolean} isMore whether to keep the rows that are there
 */
function show(lines, next, isMore) {
  const focused = isMore ? null : focusedKey();
  const made = lines.map(row);
  if (isMore) rows.append(...made);
  else rows.replaceChildren(...made);
  cursor = next;
  moreButton.hidden = next === null;
  byId("list-note").textContent = noteOn(rows.children.length, next !== null);
  made[lines.findIndex(({ key }) => key === focused)]?.querySelector("button")?.focus({ preventScroll: true });
}

/** Return the key whose button has the focus, which a new listing would take away. */
function focusedKey() {
  const focused = document.activeElement;
  return focused instanceof HTMLElement && rows.contains(focused) ? keyOf.get(focused) : undefined;
}

/** @type {WeakMap<HTMLElement, string>} */
const keyOf = new WeakMap();

/** @param {Line} line */
function row({ key, version, size, media_type: mediaType, expires_at: expiresAt }) {
  const open = button("", () => void openAndShow(key), { class: "key" });
  open.replaceChildren(...shownKey(key));
  keyOf.set(open, key);
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, open),
    element("td", { class: "wide" }, element("code", {}, version)),
    element("td", { class: "number", title: `${size} bytes` }, bytes(size)),
    element("td", { class: "wide" }, mediaType),
    element("td", { class: "nowrap" }, expiry(expiresAt, { isRough: true })),
  );
}

/** @param {string} key */
async function openAndShow(key) {
  await openKey(key);
  if (!BESIDE.matches) byId("editor").scrollIntoView({ block: "start" });
}

/**
 * @param {number} count
 * @param {boolean} isMore
 */
function noteOn(count, isMore) {
  const named = prefix === "" ? "" : ` that begins with ${plainKey(prefix)}`;
  if (count === 0 && !isMore) return prefix === "" ? "There are no keys yet. Write one: a key, a value, Save." : `There is no key${named}.`;
  const keys = `${count.toLocaleString("en")} ${count === 1 ? "key" : "keys"}`;
  return isMore ? `The first ${keys}; there are more.` : `${keys}, all there are.`;
}
