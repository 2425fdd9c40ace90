/**
 * The editor of one key: reads, writes and deletes it, on the condition that nobody else has changed it meanwhile.
 */

import { Problem } from "./api.js";
import { button, byId, element, fillFacts } from "./elements.js";
import { deleteEntry, readEntry, writeEntry } from "./entries.js";
import { exactBytes, expiry, plainKey } from "./format.js";
import { currentKey, showKey } from "./keyfield.js";
import { indented, isJson } from "./json.js";
import { clearNotices, refuse, tell } from "./notices.js";
import { isAgreed } from "./question.js";
import { asText, hexDump, isJsonType } from "./value.js";
import { editedValue, isChanged, settleValue, showValue, startValue, takeFile, typedText } from "./valuefield.js";

/** @typedef {import("./entries.js").Entry} Entry */
/** @typedef {import("./entries.js").Condition} Condition */

const JSON_TYPE = "application/json";
const PREVIEW_CHARACTERS = 400;

const mediaTypeField = /** @type {HTMLInputElement} */ (byId("media-type"));
const ttlField = /** @type {HTMLInputElement} */ (byId("ttl"));
const conditionBox = /** @type {HTMLInputElement} */ (byId("only-if-unchanged"));

/**
 * What is known of the key that was looked at last. `version` null: it does not exist.
 *
 * @typedef {{key: string, version: string | null, size: number, mediaType: string, expiresAt: string | null, from: string}} Seen
 */
/** @type {Seen | null} */
let seen = null;
/** What the field of the TTL was filled with: unless it is changed, the expiry stays as it is. */
let filledTtl = "";
/** Counts what was asked for, so that an answer that comes late is not shown over a newer one. */
let turn = 0;
/** @type {(key: string, isStored: boolean) => void} */
let changed = () => {};

/**
 * Let the editor work.
 *
 * @param {(key: string, isStored: boolean) => void} onChange called when a key was written or deleted
 */
export function startEditor(onChange) {
  changed = onChange;
  startValue(currentKey, guardPage);
  byId("key-form").addEventListener("click", clearOldNotices, { capture: true });
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    void save();
  });
  byId("get").addEventListener("click", () => void openKey(currentKey()));
  byId("delete").addEventListener("click", () => void remove());
  byId("new").addEventListener("click", () => void startNew());
  byId("upload").addEventListener("change", () => void take());
  byId("key").addEventListener("input", () => {
    conditionBox.checked = true; // that it was switched off was meant for the key that stood here before
    showSeen();
  });
  byId("key").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return; // in this field it would save, where whoever names a key wants to see it
    event.preventDefault();
    void openKey(currentKey());
  });
  ttlField.addEventListener("input", () => {
    showTtlNote();
    guardPage();
  });
  conditionBox.addEventListener("change", showConditionNote);
  showSeen();
}

/**
 * Read a key and show it, unless something is unsaved and is to stay.
 *
 * @param {string} key
 */
export async function openKey(key) {
  clearNotices();
  if (!isKey(key)) return;
  turn += 1;
  const asked = turn;
  try {
    const entry = await readEntry(key);
    if (asked === turn) await showAnswer(key, entry);
  } catch (error) {
    if (asked === turn) refuse("key-alert", error);
  }
}

/**
 * @param {string} key
 * @param {Entry | null} entry
 */
async function showAnswer(key, entry) {
  const isForIt = entry === null && seen === null && currentKey() === key; // what was typed is to become this very key
  if (!isForIt && !(await mayReplace(isUnsaved()))) return;
  showKey(key);
  if (entry !== null) {
    showEntry(key, entry);
    return;
  }
  if (!isForIt) showNothing();
  showMissing(key);
}

/**
 * @param {string} key
 * @param {Entry} entry
 */
function showEntry(key, { version, value, mediaType, expiresAt, from }) {
  seen = { key, version, size: value.length, mediaType, expiresAt, from };
  conditionBox.checked = true;
  mediaTypeField.value = mediaType;
  fillTtl(expiresAt);
  showValue(value, mediaType);
  showSeen();
}

/** @param {string} key */
function showMissing(key) {
  seen = { key, version: null, size: 0, mediaType: "", expiresAt: null, from: "" };
  conditionBox.checked = true;
  showSeen();
  tell(`There is no key ${plainKey(key)}. Save makes it.`);
}

function showNothing() {
  fillTtl(null);
  showValue(null, mediaTypeField.value);
}

async function startNew() {
  turn += 1;
  if (!(await mayReplace(isUnsaved()))) return;
  seen = null;
  conditionBox.checked = true;
  mediaTypeField.value = JSON_TYPE;
  showNothing();
  showKey("");
  showSeen();
  byId("key").focus();
}

async function take() {
  const input = /** @type {HTMLInputElement} */ (byId("upload"));
  const file = input.files?.[0];
  if (file && (await mayReplace(isChanged()))) await takeFile(file);
  input.value = ""; // so that the same file can be taken again
}

async function save() {
  const key = currentKey();
  if (isKey(key) && isMediaType()) await write(key, conditionFor(key));
}

/**
 * @param {string} key
 * @param {Condition} condition
 */
async function write(key, condition) {
  const [value, text, before] = [editedValue(), typedText(), seen];
  const mediaType = mediaTypeField.value.trim() || "application/octet-stream";
  const expiresAt = chosenExpiry(key);
  const ttl = expiresAt === null ? null : Math.max(1, Math.ceil((expiresAt - Date.now()) / 1000));
  turn += 1;
  await whileBusy(async () => {
    try {
      const { version, isStored } = await writeEntry(key, { value, mediaType, ttl }, condition);
      const moment = expiresAt === null ? null : new Date(expiresAt).toISOString();
      if (seen === before) {
        if (seen?.key !== key) conditionBox.checked = true; // from now on there is something to compare with
        seen = { key, version, size: value.length, mediaType, expiresAt: moment, from: "" };
        mediaTypeField.value = mediaType;
        settleValue(value, text);
        fillTtl(moment);
        showSeen();
      }
      tell(`Saved ${plainKey(key)}: ${isStored ? "stored" : "accepted by the queue"} as version ${version}.`);
      changed(key, isStored);
    } catch (error) {
      await refuseWrite(error, key, (version) => write(key, version === null ? { isNew: true } : { version }), "Overwrite theirs");
    }
  });
}

async function remove() {
  const key = currentKey();
  const condition = conditionFor(key);
  if (!isKey(key)) return;
  const which = condition.version === undefined ? "whatever its value is now" : `as long as it has the version ${condition.version}`;
  if (await isAgreed("Delete", `Delete the key ${plainKey(key)}, ${which}?`)) await removeIf(key, condition);
}

/**
 * @param {string} key
 * @param {Condition} condition
 */
async function removeIf(key, condition) {
  turn += 1;
  await whileBusy(async () => {
    try {
      const { isStored } = await deleteEntry(key, condition.isNew ? {} : condition);
      seen = { key, version: null, size: 0, mediaType: "", expiresAt: null, from: "" };
      showSeen();
      const what = isStored ? "Deleted" : "The delete was accepted by the queue:";
      tell(`${what} ${plainKey(key)}.${typedText() === "" ? "" : " Its value is still in the editor: Save brings it back."}`);
      changed(key, isStored);
    } catch (error) {
      await refuseWrite(error, key, (version) => removeIf(key, version === null ? {} : { version }), "Delete theirs");
    }
  });
}

// --- what others have changed ---------------------------------------------------------------------------------------

/**
 * @param {unknown} error
 * @param {string} key
 * @param {(version: string | null) => Promise<void>} again writes over the version that is there now
 * @param {string} label of the button that does so
 */
async function refuseWrite(error, key, again, label) {
  if (!(error instanceof Problem) || error.type !== "/problems/condition-failed") {
    const isConditional = conditionBox.checked && error instanceof Problem && error.status === 503;
    refuse("key-alert", error, isConditional ? "A conditional write needs the store. Without “Only if unchanged” a queue, where there is one, takes it meanwhile." : null);
    return;
  }
  const theirs = await readEntry(key).catch(() => undefined);
  const version = theirs === undefined ? error.version : (theirs?.version ?? null);
  const buttons = [
    theirs === undefined ? null : button("Show theirs", () => void showTheirs(key, theirs)),
    button(label, () => {
      clearNotices();
      void again(version);
    }),
  ];
  const isUnread = seen?.key !== key && version !== null;
  const what = isUnread ? "This key exists already, and was not read here" : "Somebody else has changed this key";
  const now = version === null ? "it does not exist any more" : `it has version ${version} now`;
  refuse(
    "key-alert",
    `${what}: ${now}. Nothing of yours was written.`,
    theirs ? preview(theirs) : null,
    element("div", { class: "row" }, ...buttons),
  );
}

/**
 * @param {string} key
 * @param {Entry | null} theirs
 */
async function showTheirs(key, theirs) {
  if (!(await mayReplace(isUnsaved()))) return;
  clearNotices();
  showKey(key);
  if (theirs !== null) {
    showEntry(key, theirs);
    return;
  }
  showNothing();
  showMissing(key);
}

/** @param {Entry} entry */
function preview({ value, mediaType }) {
  const text = asText(value, mediaType)?.text;
  if (text === undefined) return element("pre", { class: "wrap" }, hexDump(value.subarray(0, 64)));
  const full = isJsonType(mediaType) && isJson(text) ? indented(text) : text;
  return element("pre", { class: "wrap" }, full.length > PREVIEW_CHARACTERS ? `${full.slice(0, PREVIEW_CHARACTERS)}…` : full);
}

// --- what is not saved ----------------------------------------------------------------------------------------------

function isUnsaved() {
  const isOther = seen !== null && seen.version !== null && (mediaTypeField.value !== seen.mediaType || ttlField.value !== filledTtl);
  return isChanged() || isOther;
}

/**
 * Tell whether what is in the editor may be replaced: where something would be lost, that is asked.
 *
 * @param {boolean} isLoss
 */
async function mayReplace(isLoss) {
  const key = seen?.key ?? currentKey();
  const what = key === "" ? "What you have typed" : `What you have changed for ${plainKey(key)}`;
  return !isLoss || isAgreed("Leave", `${what} is not saved, and would be lost.`, "Keep editing");
}

/** Have the browser ask before it leaves the page, while there is something to lose: a page that may ask is not kept for the way back. */
function guardPage() {
  if (isUnsaved()) addEventListener("beforeunload", askFirst);
  else removeEventListener("beforeunload", askFirst);
}

/** @param {Event} event */
function askFirst(event) {
  event.preventDefault();
}

// --- the form -------------------------------------------------------------------------------------------------------

/**
 * @param {string} key
 * @returns {Condition}
 */
function conditionFor(key) {
  if (!conditionBox.checked) return {};
  return seen?.key === key && seen.version !== null ? { version: seen.version } : { isNew: true };
}

/**
 * Return when what is written will expire; null: never. What was not changed stays as it was.
 *
 * @param {string} key
 */
function chosenExpiry(key) {
  if (seen?.key === key && seen.expiresAt !== null && ttlField.value === filledTtl) return Date.parse(seen.expiresAt);
  return ttlField.value === "" ? null : Date.now() + Number(ttlField.value) * 1000;
}

/** @param {string | null} expiresAt */
function fillTtl(expiresAt) {
  filledTtl = expiresAt === null ? "" : String(Math.max(1, Math.ceil((Date.parse(expiresAt) - Date.now()) / 1000)));
  ttlField.value = filledTtl;
  showTtlNote();
}

function showTtlNote() {
  const isKept = seen !== null && seen.expiresAt !== null && ttlField.value === filledTtl;
  const isEnded = seen !== null && seen.expiresAt !== null && ttlField.value === "";
  byId("ttl-note").textContent = isKept
    ? "Unchanged: it goes on to expire when it would have."
    : isEnded
      ? "It will live for ever."
      : "";
}

function showSeen() {
  const isOfKey = seen !== null && seen.key === currentKey();
  const { version = null, size = 0, mediaType = "", expiresAt = null, from = "" } = (isOfKey ? seen : null) ?? {};
  /** @type {[string, import("./elements.js").Child][]} */
  const facts = [
    ["Version", version === null ? (isOfKey ? "none: there is no such key" : "–") : element("code", {}, version)],
    ["Size", version === null ? "–" : exactBytes(size)],
    ["Media type", version === null ? "–" : mediaType],
    ["Expires", version === null ? "–" : expiry(expiresAt)],
  ];
  if (from) facts.push(["Read from", from === "cache" ? "the cache" : "the store"]);
  fillFacts(byId("facts"), facts);
  showConditionNote();
  showTtlNote();
  guardPage();
}

function showConditionNote() {
  const isOfKey = seen !== null && seen.key === currentKey();
  const isNew = isOfKey && seen?.version === null;
  byId("condition-note").textContent = !conditionBox.checked
    ? "Saves over whatever is there."
    : !isOfKey
      ? "This key was not read here: saves only if it does not exist yet. Switched off, it saves over whatever is there."
      : isNew
        ? "Saves only if the key still does not exist."
        : "Saves only if the key still has the version above.";
}

/** @param {Event} event a click in the form: an action begins, though what is not valid never gets as far as being sent */
function clearOldNotices({ target }) {
  if (target instanceof Element && target.closest("button, #upload") !== null) clearNotices();
}

/** @param {string} key */
function isKey(key) {
  if (key === "") {
    refuse("key-alert", "Give a key.");
    byId("key").focus();
    return false;
  }
  if (key.isWellFormed?.() ?? true) return true;
  refuse("key-alert", "This is no Unicode text, and so no key: it has half of a character in it.");
  return false;
}

function isMediaType() {
  if (/^[\x20-\x7e]{0,255}$/.test(mediaTypeField.value)) return true;
  refuse("key-alert", "This is no media type: type/subtype, in at most 255 ASCII characters.");
  return false;
}

/** @param {() => Promise<void>} work during which nothing else can be written */
async function whileBusy(work) {
  const buttons = [...byId("editor").querySelectorAll("button")].filter((one) => !one.disabled);
  const focused = document.activeElement;
  buttons.forEach((one) => (one.disabled = true));
  try {
    await work();
  } finally {
    buttons.forEach((one) => (one.disabled = false));
    if (document.activeElement === document.body && focused instanceof HTMLElement) focused.focus(); // which a disabled button loses
  }
}

