/**
 * The token: kept for this tab only, and the dialog that asks for it.
 */

import { byId } from "./elements.js";

const KEPT_AS = "kvcore.token";

/** @typedef {(token: string) => Promise<boolean>} IsKnown */

/** @type {Promise<boolean> | null} */
let asking = null;
/** @type {(isGiven: boolean) => void} */
let answer = () => {};
/** @type {IsKnown} */
let isKnown = async () => true;

/** Return the token in use; empty: none. */
export function currentToken() {
  return sessionStorage.getItem(KEPT_AS) ?? "";
}

/**
 * Open the dialog and return whether a token was given that the node knows. Whoever asks while it is open waits with the rest.
 *
 * @param {IsKnown} check
 */
export function askForToken(check) {
  const why = currentToken() ? "The token in use is not known to this node, or has expired." : "This node asks for a token.";
  asking ??= open(check, why);
  return asking;
}

/**
 * Let the button and the dialog work.
 *
 * @param {IsKnown} check
 * @param {() => void} changed called when another token, or none, is in use
 */
export function startToken(check, changed) {
  byId("token-open").addEventListener("click", () => {
    const why = currentToken() ? "A token is in use." : "No token is in use.";
    asking ??= open(check, why);
    void asking.then((isGiven) => isGiven && changed());
  });
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    void use(field().value.trim());
  });
  byId("token-forget").addEventListener("click", () => {
    sessionStorage.removeItem(KEPT_AS);
    dialog().close();
    changed();
  });
  byId("token-cancel").addEventListener("click", () => dialog().close());
  dialog().addEventListener("close", () => finish(false));
}

/**
 * @param {IsKnown} check
 * @param {string} why
 */
function open(check, why) {
  isKnown = check;
  byId("token-why").textContent = `${why} It is kept for this tab only, and sent to this node only.`;
  /** @type {HTMLButtonElement} */ (byId("token-forget")).disabled = !currentToken();
  refuse("");
  field().value = "";
  dialog().showModal();
  field().focus();
  return new Promise((/** @type {(isGiven: boolean) => void} */ resolve) => {
    answer = resolve;
  });
}

/** @param {string} token */
async function use(token) {
  refuse("");
  const refusal = await refusalOf(token);
  if (refusal) {
    refuse(refusal);
    field().select();
    return;
  }
  sessionStorage.setItem(KEPT_AS, token);
  finish(true);
  dialog().close();
}

/**
 * Return why a token cannot be used; empty: it can.
 *
 * @param {string} token
 */
async function refusalOf(token) {
  if (!/^[\x21-\x7e]+$/.test(token)) return "This is no token: a token is one word of ASCII characters.";
  try {
    return (await isKnown(token)) ? "" : "The node does not know this token, or it has expired.";
  } catch {
    return "The node does not answer, so the token cannot be checked now.";
  }
}

/** @param {boolean} isGiven */
function finish(isGiven) {
  field().value = "";
  asking = null;
  answer(isGiven);
}

/** @param {string} text */
function refuse(text) {
  const alert = byId("token-alert");
  alert.textContent = text;
  alert.hidden = text === "";
}

function dialog() {
  return /** @type {HTMLDialogElement} */ (byId("token-dialog"));
}

function field() {
  return /** @type {HTMLInputElement} */ (byId("token"));
}
