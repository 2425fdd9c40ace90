/**
 * Reading and writing one key. Values go as the bytes that they are (the raw form of the API); only the keys `.` and `..`,
 * which no browser can ask for in a path, go in the JSON form.
 */

import { Problem, rawPath, request } from "./api.js";
import { memberText } from "./json.js";

/**
 * @typedef {object} Entry
 * @property {string} version
 * @property {Uint8Array} value
 * @property {string} mediaType
 * @property {string | null} expiresAt RFC 3339; null: never
 * @property {string} from what has answered: "cache" or "store"
 */

/**
 * @typedef {object} Condition at most one of them
 * @property {string} [version] the version that the key must have
 * @property {boolean} [isNew] whether it must not exist
 */

/**
 * @typedef {object} Written
 * @property {string} version
 * @property {boolean} isStored whether the store has it; else a durable queue has
 */

/**
 * Read a key; null: it does not exist.
 *
 * @param {string} key
 * @returns {Promise<Entry | null>}
 * @throws {Problem}
 */
export async function readEntry(key) {
  const path = rawPath(key);
  try {
    const answer = await request(path ?? inQuery(key), { scope: "read" });
    return {
      version: unquoted(answer.headers.get("etag")),
      value: path === null ? await valueInEnvelope(answer) : new Uint8Array(await answer.arrayBuffer()),
      mediaType: answer.headers.get("content-type") ?? "",
      expiresAt: answer.headers.get("expires-at"),
      from: (answer.headers.get("cache-status") ?? "").includes("hit") ? "cache" : "store",
    };
  } catch (error) {
    if (error instanceof Problem && error.type === "/problems/key-not-found") return null;
    if (error instanceof Problem) throw error;
    throw new Problem({ title: "No complete answer", detail: "The answer broke off." });
  }
}

/**
 * Write a key.
 *
 * @param {string} key
 * @param {{value: Uint8Array, mediaType: string, ttl: number | null}} entry
 * @param {Condition} condition
 * @returns {Promise<Written>}
 * @throws {Problem}
 */
export async function writeEntry(key, { value, mediaType, ttl }, condition) {
  const path = rawPath(key);
  if (path === null) return inEnvelope(key, value, mediaType, ttl, condition);
  const headers = { ...conditionHeaders(condition), ...(mediaType ? { "Content-Type": mediaType } : {}) };
  const target = ttl === null ? path : `${path}?ttl=${ttl}`;
  return written(await request(target, { method: "PUT", headers, body: bodyOf(value), scope: "write" }));
}

/**
 * Delete a key.
 *
 * @param {string} key
 * @param {Condition} condition
 * @returns {Promise<Written>}
 * @throws {Problem}
 */
export async function deleteEntry(key, condition) {
  const target = rawPath(key) ?? inQuery(key);
  return written(await request(target, { method: "DELETE", headers: conditionHeaders(condition), scope: "write" }));
}

/**
 * @param {string} key
 * @param {Uint8Array} value
 * @param {string} mediaType
 * @param {number | null} ttl
 * @param {Condition} condition
 */
async function inEnvelope(key, value, mediaType, ttl, condition) {
  if (mediaType !== "application/json") {
    throw new Problem({ title: "Not from a browser", detail: `The key ${key} can be written from here as application/json only: use kvctl.` });
  }
  const text = new TextDecoder().decode(value);
  JSON.parse(text); // so that what is put between the members is one value
  const members = `"key":${JSON.stringify(key)},"value":${text}${ttl === null ? "" : `,"ttl":${ttl}`}`;
  return written(await request("/kv", { method: "PUT", headers: conditionHeaders(condition), body: `{"data":{${members}}}`, scope: "write" }));
}

/** @param {Response} answer */
async function valueInEnvelope(answer) {
  return new TextEncoder().encode(memberText(await answer.text(), "data", "value") ?? "");
}

/** @param {string} key */
function inQuery(key) {
  return `/kv?key=${encodeURIComponent(key)}`;
}

/**
 * @param {Response} answer
 * @returns {Promise<Written>}
 */
async function written(answer) {
  const { data, detail } = await answer.json();
  return { version: data.version, isStored: detail === "stored" };
}

/**
 * @param {Condition} condition
 * @returns {Record<string, string>}
 */
function conditionHeaders({ version, isNew }) {
  if (version !== undefined) return { "If-Match": `"${version}"` };
  return isNew ? { "If-None-Match": "*" } : {};
}

/**
 * @param {Uint8Array} value
 * @returns {BodyInit}
 */
function bodyOf(value) {
  return new Blob([/** @type {BlobPart} */ (value)]);
}

/** @param {string | null} etag */
function unquoted(etag) {
  return (etag ?? "").replaceAll('"', "");
}
