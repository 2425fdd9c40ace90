/**
 * Asking again and again: at an even pace while somebody looks, seldom while the page is hidden, and ever more seldom while
 * there is no answer.
 */

const HIDDEN_MS = 30_000;
const MOST_MS = 10_000;

/**
 * Begin to poll, and return a function that polls at once.
 *
 * @param {() => Promise<boolean>} poll tells whether there was an answer; must not fail
 * @param {number} paceMs
 * @returns {() => void}
 */
export function startPolling(poll, paceMs) {
  let failures = 0;
  let isUnderWay = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  async function run() {
    clearTimeout(timer);
    if (isUnderWay) return;
    isUnderWay = true;
    const began = Date.now();
    failures = (await poll()) ? 0 : failures + 1;
    isUnderWay = false;
    const pause = document.hidden ? HIDDEN_MS : Math.min(MOST_MS, paceMs * 2 ** Math.max(0, failures - 1));
    timer = setTimeout(run, Math.max(0, pause - (Date.now() - began)));
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) void run();
  });
  void run();
  return () => void run();
}
