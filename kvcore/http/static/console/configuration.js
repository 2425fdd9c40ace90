/**
 * The configuration in force, and the plugins.
 */

import { Problem, requestJson } from "./api.js";
import { byId, element, fill } from "./elements.js";
import { knownHealth } from "./health.js";
import { clearNotices, refuse } from "./notices.js";

/** @typedef {{setting: string, value: unknown, source: string}} Setting */
/** @typedef {{name: string, distribution: string, backends: {kind: string, name: string, abilities: string[]}[], hooks: string[]}} Plugin */

const filter = /** @type {HTMLInputElement} */ (byId("filter"));
const rows = /** @type {HTMLElement} */ (document.querySelector("#configuration-table tbody"));

/** Let the view work. */
export function startConfiguration() {
  filter.addEventListener("input", showMatching);
}

/** Ask for it and show it. */
export async function showConfiguration() {
  void showNode();
  try {
    const config = await requestJson("/admin/config", { scope: "admin" });
    const plugins = await requestJson("/admin/plugins", { scope: "admin" });
    fill(rows, ...config.data.map(settingRow));
    fill(/** @type {HTMLElement} */ (document.querySelector("#plugins-table tbody")), ...plugins.data.map(pluginRow), ...plugins.broken.map(brokenRow));
    byId("configuration-shown").hidden = false;
    showMatching();
  } catch (error) {
    byId("configuration-shown").hidden = true;
    clearNotices();
    const isRefused = error instanceof Problem && (error.status === 401 || error.status === 403);
    refuse("configuration-alert", error, isRefused ? "The configuration is for those who look after the node: “kvctl token create NAME --scope admin” makes a token that may see it." : null);
  }
}

async function showNode() {
  const { version, node, profile } = await knownHealth();
  byId("configuration-node").textContent = `kvcore ${version}, node ${node}, profile ${profile}. Secrets are not shown.`;
}

function showMatching() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows.children) {
    const text = (row.textContent ?? "").toLowerCase();
    const isMatch = words.every((word) => text.includes(word));
    /** @type {HTMLElement} */ (row).hidden = !isMatch;
    if (isMatch) count += 1;
  }
  byId("configuration-count").textContent = `${count} of ${rows.children.length} settings`;
}

/** @param {Setting} setting */
function settingRow({ setting, value, source }) {
  return element("tr", {}, element("th", { scope: "row" }, element("code", {}, ...breakable(setting))), element("td", {}, value === null ? "not set" : element("code", {}, valueText(value))), element("td", {}, source));
}

/**
 * Return a name that may break after each dot and underscore, where a line is too short for it.
 *
 * @param {string} name
 */
function breakable(name) {
  return name.split(/(?<=[._])/).flatMap((part, at) => (at === 0 ? [part] : [element("wbr"), part]));
}

/** @param {unknown} value */
function valueText(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** @param {Plugin} plugin */
function pluginRow({ name, distribution, backends, hooks }) {
  const gives = [
    ...backends.map((backend) => `${backend.kind} ${backend.name}${backend.abilities.length ? ` (${backend.abilities.join(", ")})` : ""}`),
    ...(backends.length ? [] : hooks),
  ];
  return element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, distribution), element("td", {}, gives.join("; ")));
}

/** @param {any} broken */
function brokenRow(broken) {
  const { name = "", distribution = "", ...rest } = broken;
  const why = Object.values(rest).filter((part) => typeof part === "string").join(" ");
  return element("tr", { class: "broken" }, element("th", { scope: "row" }, name), element("td", {}, distribution), element("td", {}, `Broken: ${why}`));
}
