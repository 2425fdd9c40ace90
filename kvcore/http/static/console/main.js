/**
 * The console: starts its parts, and shows the view that the address names.
 */

import { isKnown } from "./api.js";
import { showConfiguration, startConfiguration } from "./configuration.js";
import { listLetters, startDeadLetters } from "./deadletters.js";
import { byId } from "./elements.js";
import { refreshHealth, startHealth } from "./health.js";
import { list, startKeys } from "./keys.js";
import { refreshLive, showLive, startLive } from "./live.js";
import { clearNotices } from "./notices.js";
import { startToken } from "./token.js";

/** What each view does when it comes to be seen. @type {Record<string, () => unknown>} */
const VIEWS = {
  keys: () => list(),
  live: () => {},
  health: refreshHealth,
  "dead-letters": listLetters,
  configuration: showConfiguration,
};

/** The name of the view that is shown. */
let current = "";

function route() {
  const named = location.hash.slice(1);
  if (Object.hasOwn(VIEWS, named)) show(named);
  else if (current === "") show("keys");
}

/** @param {string} name */
function show(name) {
  const isFirst = current === "";
  current = name;
  clearNotices();
  for (const view of Object.keys(VIEWS)) byId(`view-${view}`).hidden = view !== name;
  document.querySelectorAll("nav a").forEach((link) => {
    if (link.getAttribute("href") === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  const heading = /** @type {HTMLElement} */ (document.querySelector(`#view-${name} h1`));
  document.title = `${heading.textContent} · kvcore`;
  if (!isFirst) heading.focus();
  showLive(name === "live");
  void VIEWS[name]();
}

byId("not-started").remove();
startHealth();
startLive();
startKeys();
startDeadLetters();
startConfiguration();
startToken(isKnown, () => {
  refreshHealth();
  refreshLive();
  clearNotices();
  void VIEWS[current]();
});
addEventListener("hashchange", route);
route();
