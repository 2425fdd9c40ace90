/**
 * Values: which of them can be edited as text without changing a byte that was not meant, and how the others are shown.
 */

/** A value above this is put into the text field only when asked for: browsers become slow with long lines. */
export const LARGE_BYTES = 64 * 1024;

const JSON_TYPE = /^application\/json\s*(;|$)|^[^;]*\+json\s*(;|$)/i;
const TEXT_TYPE = /^(text\/|application\/(xml|javascript|ecmascript|yaml|x-yaml|toml|sql|graphql|x-www-form-urlencoded)\s*(;|$)|[^;]*\+(xml|yaml)\s*(;|$))/i;
const CHARSET = /;\s*charset\s*=\s*"?([^\s";]+)/i;
const HEX_ROW = 8;
const HEX_ROWS = 8; // more would push the buttons below out of sight
const BASE64_BYTES = 3 * 1024;

/**
 * @typedef {object} EditableText
 * @property {string} text as a text field holds it, with `\n` for every line end
 * @property {boolean} hasCrlf whether each of them is `\r\n` in the value
 */

/** @param {string} mediaType */
export function isJsonType(mediaType) {
  return JSON_TYPE.test(mediaType.trim());
}

/** @param {string} mediaType */
export function isTextType(mediaType) {
  return isJsonType(mediaType) || TEXT_TYPE.test(mediaType.trim());
}

/**
 * Return a value as text that comes back to the same bytes; null where there is none, so that it must stay bytes.
 *
 * A text field makes `\n` of every line end. That is undone where all of them were `\r\n`; where they were mixed it cannot be.
 *
 * @param {Uint8Array} value
 * @param {string} mediaType
 * @returns {EditableText | null}
 */
export function asText(value, mediaType) {
  const charset = CHARSET.exec(mediaType)?.[1]?.toLowerCase() ?? "utf-8";
  if (!["utf-8", "utf8", "us-ascii", "ascii"].includes(charset)) return null;
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(value);
  } catch {
    return null;
  }
  if (!text.includes("\r")) return { text, hasCrlf: false };
  return /(^|[^\r])\n|\r(?!\n)/.test(text) ? null : { text: text.replaceAll("\r\n", "\n"), hasCrlf: true };
}

/**
 * Return the bytes of a text that was edited.
 *
 * @param {EditableText} edited
 */
export function asBytes({ text, hasCrlf }) {
  return new TextEncoder().encode(hasCrlf ? text.replaceAll("\n", "\r\n") : text);
}

/**
 * Return the first bytes of a value as rows of offset, hex and ASCII.
 *
 * @param {Uint8Array} value
 */
export function hexDump(value) {
  const rows = [];
  for (let at = 0; at < Math.min(value.length, HEX_ROW * HEX_ROWS); at += HEX_ROW) {
    const row = Array.from(value.subarray(at, at + HEX_ROW));
    const hex = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(3 * HEX_ROW);
    const ascii = row.map((byte) => (byte > 0x1f && byte < 0x7f ? String.fromCharCode(byte) : ".")).join("");
    rows.push(`${at.toString(16).padStart(4, "0")}  ${hex} ${ascii}`);
  }
  if (value.length > HEX_ROW * HEX_ROWS) rows.push("…");
  return rows.join("\n");
}

/**
 * Return the first bytes of a value in base64.
 *
 * @param {Uint8Array} value
 */
export function base64Preview(value) {
  const text = btoa(String.fromCharCode(...value.subarray(0, BASE64_BYTES)));
  return value.length > BASE64_BYTES ? `${text}…` : text;
}
