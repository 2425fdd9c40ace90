/**
 * How keys, sizes, times and numbers are written for people.
 */

import { element } from "./elements.js";

const MOST_CHARACTERS = 160;
const LAST_CHARACTERS = 24;
/** @type {Record<string, string>} */
const NAMES = { "\t": "TAB", "\n": "LF", "\r": "CR", " ": "SPACE" };
// What is not seen, or changes how what stands around it is seen.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|^ | $/gu;

/**
 * Return a key for showing: what would not be seen is made visible, and of a long one only its ends are shown.
 *
 * @param {string} key
 * @returns {(Node | string)[]}
 */
export function shownKey(key) {
  const characters = Array.from(key);
  if (characters.length <= MOST_CHARACTERS) return shownText(key);
  const first = characters.slice(0, MOST_CHARACTERS - LAST_CHARACTERS).join("");
  const last = characters.slice(-LAST_CHARACTERS).join("");
  const size = element("span", { class: "unseen-character" }, `… ${bytes(byteLength(key))} …`);
  return [...shownText(first), size, ...shownText(last)];
}

/**
 * Return a key as plain text with nothing unseen in it, for sentences and fields.
 *
 * @param {string} key
 */
export function plainKey(key) {
  return shownKey(key).map((part) => (typeof part === "string" ? part : part.textContent)).join("");
}

/** @param {string} text */
function shownText(text) {
  /** @type {(Node | string)[]} */
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(UNSEEN)) {
    if (found.index > end) parts.push(text.slice(end, found.index));
    parts.push(element("span", { class: "unseen-character", title: codePoint(found[0]) }, picture(found[0])));
    end = found.index + found[0].length;
  }
  if (end < text.length) parts.push(text.slice(end));
  return parts;
}

/** @param {string} character */
function picture(character) {
  return `‹${NAMES[character] ?? codePoint(character)}›`; // Unicode has pictures of some, which few fonts have
}

/** @param {string} character */
function codePoint(character) {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
}

/** @param {string} text */
export function byteLength(text) {
  return new TextEncoder().encode(text).length;
}

/**
 * Return a size in binary units.
 *
 * @param {number} size bytes
 */
export function bytes(size) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  for (; size >= 1024 && unit < units.length - 1; unit += 1) size /= 1024;
  return `${unit === 0 ? size : size.toFixed(1)} ${units[unit]}`;
}

/**
 * Return a size exactly, with a rounded one where that is shorter.
 *
 * @param {number} size bytes
 */
export function exactBytes(size) {
  const exact = `${size.toLocaleString("en")} ${size === 1 ? "byte" : "bytes"}`;
  return size < 1024 ? exact : `${exact} (${bytes(size)})`;
}

/**
 * Return a length of time in its largest units.
 *
 * @param {number} seconds
 * @param {number} most how many units
 */
export function duration(seconds, most = 2) {
  const left = Math.max(0, Math.ceil(seconds));
  const units = [`${Math.floor(left / 86400)} d`, `${Math.floor(left / 3600) % 24} h`, `${Math.floor(left / 60) % 60} min`, `${left % 60} s`];
  const first = units.findIndex((unit) => parseInt(unit) > 0);
  return first < 0 ? "0 s" : units.slice(first, first + most).filter((unit) => parseInt(unit) > 0).join(" ");
}

/**
 * Return a moment that counts down, to be shown anew every second by `countDown`.
 *
 * @param {string | null} moment RFC 3339; null: never
 * @param {{isRough?: boolean}} how rough: in one unit, where there is little room
 * @returns {Node | string}
 */
export function expiry(moment, { isRough = false } = {}) {
  if (moment === null) return "never";
  const shown = element("time", { datetime: moment, class: isRough ? "expiry rough" : "expiry", title: dateAndTime(new Date(moment)) });
  showRemaining(shown);
  return shown;
}

/** Show anew how long everything that is on the page will live. */
export function countDown() {
  document.querySelectorAll("time.expiry").forEach(showRemaining);
}

/** @param {Element} shown */
function showRemaining(shown) {
  const seconds = (Date.parse(shown.getAttribute("datetime") ?? "") - Date.now()) / 1000;
  const units = shown.classList.contains("rough") ? 1 : 2;
  shown.textContent = seconds > 0 ? `in ${duration(seconds, units)}` : "expired";
}

/**
 * Return when a version was stamped: its first 48 bits are Unix milliseconds.
 *
 * @param {string} version
 */
export function stampedAt(version) {
  return new Date(parseInt(version.slice(0, 12), 16));
}

/**
 * Return the time of day.
 *
 * @param {number} at Unix milliseconds
 */
export function timeOfDay(at) {
  return new Date(at).toLocaleTimeString([], { hourCycle: "h23" });
}

/**
 * Return date and time.
 *
 * @param {Date} moment
 */
export function dateAndTime(moment) {
  return moment.toLocaleString([], { hourCycle: "h23", dateStyle: "medium", timeStyle: "medium" });
}

/**
 * Return a number with three digits that matter; "–" where there is none.
 *
 * @param {number | null | undefined} value
 */
export function figure(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return value.toLocaleString("en", { maximumSignificantDigits: 3 });
}

/**
 * Return a number of things, with every digit; "–" where there is none.
 *
 * @param {number | null | undefined} value
 */
export function whole(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return value.toLocaleString("en", { maximumFractionDigits: 0 });
}
