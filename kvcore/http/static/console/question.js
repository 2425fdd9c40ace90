/**
 * The question that is asked before something is lost for good.
 */

import { byId } from "./elements.js";

const dialog = /** @type {HTMLDialogElement} */ (byId("question"));

/**
 * Ask, with the focus on the button that changes nothing, and return whether the answer is the deed.
 *
 * @param {string} deed what the dialog and the other button are called
 * @param {string} text
 * @returns {Promise<boolean>}
 */
export function isAgreed(deed, text) {
  byId("question-heading").textContent = byId("question-yes").textContent = deed;
  byId("question-text").textContent = text;
  dialog.returnValue = ""; // which Escape leaves as it is
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
