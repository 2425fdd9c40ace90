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

/**
 * Show a value: as text where its media type says so, it can be edited without harm, and it is not large.
 *
 * @param {Uint8Array | null} value null: nothing, to be typed
 * @param {string} mediaType
 */
export function showValue(value, mediaType) {
  original = value;
  const isText = value === null || (isTextType(mediaType) && value.length <= LARGE_BYTES);
  const text = value === null ? { text: "", hasCrlf: false } : asText(value, mediaType);
  if (isText && text !== null) showText(text);
  else showBytes(/** @type {Uint8Array} */ (value), mediaType);
}

/**
 * Show a text that is not the original: what somebody has written before.
 *
 * @param {string} text
 */
export function restoreText(text) {
  showText({ text: "", hasCrlf: false });
  original = null;
  textField.value = text;
  showTools();
}

/** Return the bytes to be written: those that were read where nothing was changed. */
export function editedValue() {
  if (original !== null && !isChanged()) return original;
  return asBytes({ text: textField.value, hasCrlf });
}

/** Return the text that was typed; null: the value is bytes. */
export function typedText() {
  return byId("as-text").hidden ? null : textField.value;
}

/** Tell whether the text is another than it was. */
export function isChanged() {
  return !byId("as-text").hidden && textField.value !== (shown?.text ?? "");
}

/** Take what is there now, which was just written, for the original. */
export function settleValue() {
  original = editedValue();
  if (!byId("as-text").hidden) shown = { text: textField.value, hasCrlf };
  showTools();
}

/**
 * Let the buttons around the value work.
 *
 * @param {() => string} nameOfKey names what is downloaded
 */
export function startValue(nameOfKey) {
  textField.addEventListener("input", showTools);
  mediaTypeField.addEventListener("input", showTools);
  byId("indent").addEventListener("click", () => replaceText(indented(textField.value)));
  byId("as-it-was").addEventListener("click", () => replaceText(shown?.text ?? ""));
  byId("show-as-text").addEventListener("click", () => {
    const text = original && asText(original, mediaTypeField.value);
    if (text) showText(text);
  });
  byId("type-instead").addEventListener("click", () => {
    showText({ text: "", hasCrlf: false });
    original = null;
    textField.focus();
  });
  byId("download").addEventListener("click", () => download(editedValue(), nameOfKey()));
  byId("upload").addEventListener("change", (event) => void take(/** @type {HTMLInputElement} */ (event.target)));
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
  byId("as-it-was").hidden = !(isText && original !== null && isChanged());
  byId("download").hidden = original === null && textField.value === "";
  const isWrong = isJsonText && textField.value !== "" && textField.value.length <= 1e6 && !isJson(textField.value);
  byId("value-note").textContent = isWrong
    ? 'This is no JSON yet: a text stands in quotes ("hello"). Or choose another media type, such as text/plain.'
    : isText && hasCrlf
      ? "The line ends of this value are CRLF, and stay so."
      : "";
}

/** @param {HTMLInputElement} input */
async function take(input) {
  const file = input.files?.[0];
  if (!file) return;
  mediaTypeField.value = file.type || "application/octet-stream";
  const value = new Uint8Array(await file.arrayBuffer());
  input.value = "";
  showValue(value, mediaTypeField.value);
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
