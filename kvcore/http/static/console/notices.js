/**
 * What is told after each action: results in one place, and refusals where they happened. The next action takes them away.
 */

import { byId, element } from "./elements.js";
import { Problem } from "./api.js";

/** @typedef {import("./elements.js").Child} Child */

/** Take away what the last action has told. */
export function clearNotices() {
  byId("told").textContent = "";
  document.querySelectorAll("main [role=alert]").forEach((alert) => {
    alert.replaceChildren();
    /** @type {HTMLElement} */ (alert).hidden = true;
  });
}

/**
 * Tell a result.
 *
 * @param {string} text
 */
export function tell(text) {
  byId("told").textContent = text;
}

/**
 * Tell a refusal at its place.
 *
 * @param {string} place id of an element with the role alert
 * @param {unknown} error
 * @param {...Child} more what to say or to press besides
 */
export function refuse(place, error, ...more) {
  const alert = byId(place);
  const parts = error instanceof Problem ? problemParts(error) : [text(String(error))];
  const requestId = error instanceof Problem && error.requestId ? [element("p", { class: "note" }, `Request ${error.requestId}`)] : [];
  alert.replaceChildren(...parts, ...more.filter(isThere).map(asElement), ...requestId);
  alert.hidden = false;
  alert.scrollIntoView({ block: "nearest" });
}

/** @param {Problem} problem */
function problemParts(problem) {
  const parts = [element("p", {}, element("strong", {}, problem.title), problem.detail ? `: ${problem.detail}` : "")];
  const advice = adviceOn(problem);
  if (advice) parts.push(text(advice));
  return parts;
}

/**
 * Return what else a refusal means to whoever reads it here.
 *
 * @param {Problem} problem
 */
export function adviceOn(problem) {
  if (problem.status === 403) {
    return `The token lacks the scope “${problem.scope ?? "read"}”, or is for other key prefixes. Use another one: the button “Token”.`;
  }
  if (problem.status === 401) return "Give a token that this node knows: the button “Token”.";
  if (problem.outcome === "not-applied") return "Nothing was done. Trying again is safe.";
  if (problem.outcome === "unknown") return "Whether it happened is not known: read the key again before you decide.";
  return "";
}

/** @param {string} sentence */
function text(sentence) {
  return element("p", {}, sentence);
}

/** @param {Child} child */
function isThere(child) {
  return child !== null && child !== undefined && child !== "";
}

/** @param {Child} child */
function asElement(child) {
  return child instanceof Node ? child : text(String(child));
}
