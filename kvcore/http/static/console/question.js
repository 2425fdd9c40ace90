/**
 * The question that is asked before something is lost for good.
 */

import { byId } from "./elements.js";

const dialog = /** @type {HTMLDialogElement} */ (byId("question"));

/**
 * Ask, with the focus on the button that changes nothing, and return whether the answer is the deed. While another question
 * is open it is not: nobody has been asked.
 *
 * @param {string} deed what the dialog and the other button are called
 * @param {string} text
 * @param {string} keep what the button that changes nothing is called
 * @returns {Promise<boolean>}
 */
export function isAgreed(deed, text, keep = "Keep") {
  if (dialog.open) return Promise.resolve(false);
  byId("question-no").textContent = keep;
  byId("question-heading").textContent = byId("question-yes").textContent = deed;
  byId("question-text").textContent = text;
  dialog.returnValue = ""; // which Escape leaves as it is
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
