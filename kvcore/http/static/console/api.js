/**
 * Asking the node that this page is from, and no other host: with the token, where there is one, and without cookies.
 */

import { askForToken, currentToken } from "./token.js";

const PATIENCE_MS = 15_000;
// `.` and `..` are followed by browsers, percent-encoded too, and would lead away from the key.
const SEGMENTS_OF_DOTS = new Set([".", ".."]);

/** @typedef {"read" | "write" | "admin"} Scope */

/**
 * @typedef {object} Ask
 * @property {string} [method]
 * @property {Record<string, string>} [headers]
 * @property {BodyInit} [body]
 * @property {Scope} [scope] what a token must allow for this
 * @property {boolean} [isQuiet] whether nobody waits for this, so that nobody is asked for a token
 * @property {number} [patienceMs]
 */

/** A refusal: a problem document (RFC 9457), or that no answer came. */
export class Problem extends Error {
  /**
   * @param {Record<string, any>} document
   * @param {{status?: number, requestId?: string, scope?: Scope}} about status 0: there was no answer
   */
  constructor(document, { status = 0, requestId = "", scope } = {}) {
    super(document.detail || document.title);
    /** @type {Record<string, any>} */
    this.document = document;
    this.status = status;
    this.type = String(document.type ?? "");
    this.title = String(document.title ?? "");
    this.detail = String(document.detail ?? "");
    /** @type {string} what became of a write: "not-applied", "unknown" or "" */
    this.outcome = String(document.outcome ?? "");
    /** @type {string | null} the version that the key has now, where a condition failed */
    this.version = document.version ?? null;
    this.requestId = requestId;
    this.scope = scope;
  }
}

/**
 * Ask, and return the answer if it is not a refusal. After a 401 the token is asked for, and then the same is asked again.
 *
 * @param {string} target path and query
 * @param {Ask} ask
 * @returns {Promise<Response>}
 * @throws {Problem}
 */
export async function request(target, ask = {}) {
  let answer = await send(target, ask);
  if (answer.status === 401 && !ask.isQuiet && (await askForToken(isKnown))) answer = await send(target, ask);
  if (!answer.ok) throw await problemIn(answer, ask.scope);
  return answer;
}

/**
 * Ask for JSON.
 *
 * @param {string} target
 * @param {Ask} ask
 * @returns {Promise<any>}
 * @throws {Problem}
 */
export async function requestJson(target, ask = {}) {
  const answer = await request(target, ask);
  return answer.json().catch(() => {
    throw new Problem({ title: "No complete answer", detail: "The answer broke off." }, { status: answer.status });
  });
}

/**
 * Post JSON to the administration.
 *
 * @param {string} target
 * @param {unknown} body
 * @returns {Promise<any>}
 * @throws {Problem}
 */
export function post(target, body) {
  const headers = { "Content-Type": "application/json" };
  return requestJson(target, { method: "POST", headers, body: JSON.stringify(body), scope: "admin" });
}

/**
 * Return the path of a key in the raw form; null where a browser cannot ask for it, so that the JSON form must do.
 *
 * @param {string} key
 */
export function rawPath(key) {
  return SEGMENTS_OF_DOTS.has(key) ? null : `/kv/${encodeURIComponent(key)}`;
}

/**
 * Tell whether the node knows a token, by asking for what any token may see.
 *
 * @param {string} token
 * @returns {Promise<boolean>}
 * @throws {Problem} there is no answer
 */
export async function isKnown(token) {
  return (await send("/cache/stats", {}, token)).status !== 401;
}

/**
 * @param {string} target
 * @param {Ask} ask
 * @param {string} token
 */
async function send(target, ask, token = currentToken()) {
  const { method = "GET", body, patienceMs = PATIENCE_MS } = ask;
  // `no-store` keeps values and answers to tokens out of the browser's cache. Alone it would also ask the node to go past its
  // own cache, which is not what an operator wants to see: `max-age=0` in its place means nothing to the node.
  const headers = new Headers({ "Cache-Control": "max-age=0", ...ask.headers });
  if (token) headers.set("Authorization", `Bearer ${token}`);
  try {
    return await fetch(target, {
      method,
      body,
      headers,
      mode: "same-origin",
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(patienceMs),
    });
  } catch {
    const outcome = method === "GET" ? "" : "unknown";
    throw new Problem({ title: "No answer", detail: "The node cannot be reached, or did not answer in time.", outcome });
  }
}

/**
 * @param {Response} answer
 * @param {Scope} [scope]
 */
async function problemIn(answer, scope) {
  const about = { status: answer.status, requestId: answer.headers.get("x-request-id") ?? "", scope };
  const document = await answer.json().catch(() => null);
  if (document !== null && typeof document === "object") return new Problem(document, about);
  return new Problem({ title: `Status ${answer.status}`, detail: "The answer is not one of kvcore: something stands between." }, about);
}
