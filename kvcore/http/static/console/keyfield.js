/**
 * The field of the key. A field cannot hold every key: line ends are lost in it, and what is not seen cannot be told apart.
 * Such a key is held here, and the field shows what it looks like.
 */

import { byId } from "./elements.js";
import { plainKey } from "./format.js";

const field = /** @type {HTMLInputElement} */ (byId("key"));
const note = byId("key-note");

/** @type {string | null} */
let held = null;

/** Return the key. */
export function currentKey() {
  return held ?? field.value;
}

/**
 * Show a key.
 *
 * @param {string} key
 */
export function showKey(key) {
  const plain = plainKey(key);
  held = plain === key ? null : key;
  field.value = plain;
  field.readOnly = held !== null;
  note.hidden = held === null;
  note.textContent = held === null ? "" : "This key cannot be shown as it is in a field, and is kept as it is. “New” takes another one.";
}
