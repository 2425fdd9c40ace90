/**
 * The value in the editor: a text to be edited, or bytes that are shown, taken from a file and saved to one.
 */

import { byId } from "./elements.js";
import { bytes, exactBytes } from "./format.js";
import { indented, isJson } from "./json.js";
import { LARGE_BYTES, asBytes, asText, base64Preview, hexDump, isJsonType, isTextType } from "./value.js";

const textField = /** @type {HTMLTextAreaElement} */ (byId("value"));
const mediaTypeField = /** @type {HTMLInputElement} */ (byId("media-type"));

/** The value as it was read or taken from a file; null: there was none. @type {Uint8Array | null} */
let original = null;
/** The original as text; null: it is not shown as one. @type {import("./value.js").EditableText | null} */
let shown = null;
let hasCrlf = false;
/** Whether the original comes from a file, and is saved nowhere yet. */
let isTaken = false;
/** Called when the value may have become another. */
let changed = () => {};

/**
 * Show a value: as text where its media type says so, it can be edited without harm, and it is not large.
 *
 * @param {Uint8Array | null} value null: nothing, to be typed
 * @param {string} mediaType
 */
export function showValue(value, mediaType) {
  original = value;
  isTaken = false;
  const isText = value === null || (isTextType(mediaType) && value.length <= LARGE_BYTES);
  const text = value === null ? { text: "", hasCrlf: false } : asText(value, mediaType);
  if (isText && text !== null) showText(text);
  else showBytes(/** @type {Uint8Array} */ (value), mediaType);
}

/** Return the bytes to be written: those that were read where nothing was changed. */
export function editedValue() {
  if (original !== null && !isEdited()) return original;
  return asBytes({ text: textField.value, hasCrlf });
}

/** Return the text that was typed; null: the value is bytes. */
export function typedText() {
  return byId("as-text").hidden ? null : textField.value;
}

/** Tell whether the value is another than the one that was read or saved. */
export function isChanged() {
  return isTaken || isEdited();
}

function isEdited() {
  return !byId("as-text").hidden && textField.value !== (shown?.text ?? "");
}

/**
 * Take what was written for the original. What has been typed since then is still to be saved.
 *
 * @param {Uint8Array} value
 * @param {string | null} text as it stood in the field; null: the value was bytes
 */
export function settleValue(value, text) {
  original = value;
  isTaken = false;
  if (text !== null) shown = { text, hasCrlf };
  showTools();
}

/**
 * Let the buttons around the value work.
 *
 * @param {() => string} nameOfKey names what is downloaded
 * @param {() => void} onChange called when the value, or its media type, may have become another
 */
export function startValue(nameOfKey, onChange) {
  changed = onChange;
  textField.addEventListener("input", showTools);
  mediaTypeField.addEventListener("input", showTools);
  byId("indent").addEventListener("click", () => replaceText(indented(textField.value)));
  byId("as-it-was").addEventListener("click", () => replaceText(shown?.text ?? ""));
  byId("show-as-text").addEventListener("click", () => {
    const text = original && asText(original, mediaTypeField.value);
    if (text) showText(text);
  });
  byId("type-instead").addEventListener("click", () => {
    original = null;
    isTaken = false;
    showText({ text: "", hasCrlf: false });
    textField.focus();
  });
  byId("download").addEventListener("click", () => download(editedValue(), nameOfKey()));
  showValue(null, mediaTypeField.value);
}

/** @param {string} text */
function replaceText(text) {
  textField.value = text;
  showTools();
  textField.focus();
}

/** @param {import("./value.js").EditableText} text */
function showText(text) {
  shown = text;
  hasCrlf = text.hasCrlf;
  textField.value = text.text;
  byId("as-text").hidden = false;
  byId("as-bytes").hidden = true;
  showTools();
}

/**
 * @param {Uint8Array} value
 * @param {string} mediaType
 */
function showBytes(value, mediaType) {
  shown = null;
  textField.value = "";
  const text = asText(value, mediaType);
  byId("bytes-what").textContent = `${exactBytes(value.length)}, ${whyBytes(text !== null, mediaType)}.`;
  byId("bytes-hex").textContent = hexDump(value) || "(empty)";
  byId("bytes-base64").textContent = base64Preview(value);
  byId("show-as-text").hidden = text === null;
  byId("as-text").hidden = true;
  byId("as-bytes").hidden = false;
  showTools();
}

/**
 * @param {boolean} isText
 * @param {string} mediaType
 */
function whyBytes(isText, mediaType) {
  if (isText && isTextType(mediaType)) return `more than the ${bytes(LARGE_BYTES)} that are shown unasked`;
  if (isText) return `of the media type ${mediaType || "(none)"}, and readable as text`;
  if (isTextType(mediaType)) return "which a text field would change: they are not UTF-8, or have line ends of several kinds";
  return `of the media type ${mediaType || "(none)"}`;
}

function showTools() {
  const isText = !byId("as-text").hidden;
  const isJsonText = isText && isJsonType(mediaTypeField.value);
  byId("indent").hidden = !(isJsonText && textField.value.length <= 1e6 && isJson(textField.value));
  byId("as-it-was").hidden = !(isText && original !== null && isEdited());
  byId("download").hidden = original === null && textField.value === "";
  const isWrong = isJsonText && textField.value !== "" && textField.value.length <= 1e6 && !isJson(textField.value);
  byId("value-note").textContent = isWrong
    ? 'This is no JSON yet: a text stands in quotes ("hello"). Or choose another media type, such as text/plain.'
    : isText && hasCrlf
      ? "The line ends of this value are CRLF, and stay so."
      : "";
  changed();
}

/**
 * Show what is in a file, to be saved.
 *
 * @param {File} file
 */
export async function takeFile(file) {
  const value = new Uint8Array(await file.arrayBuffer());
  mediaTypeField.value = file.type || "application/octet-stream";
  showValue(value, mediaTypeField.value);
  isTaken = true;
  changed();
  byId("value-note").textContent = `${file.name}, ${exactBytes(value.length)}: not saved yet.`;
}

/**
 * @param {Uint8Array} value
 * @param {string} name
 */
function download(value, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([/** @type {BlobPart} */ (value)]));
  link.download = name.replace(/[^\p{L}\p{N}._-]+/gu, "_").slice(0, 100) || "value";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
