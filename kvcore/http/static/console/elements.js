/**
 * Making and finding elements. Text is always text: nothing here, or anywhere in the console, parses markup.
 */

/** @typedef {Node | string | number | null | undefined} Child */

/**
 * Return the element with an id, which the page has.
 *
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function byId(id) {
  return /** @type {T} */ (document.getElementById(id));
}

/**
 * Make an element. Of `attributes`, functions are listeners, `true` is an attribute without a value, and what is false,
 * null or undefined is left out.
 *
 * @param {string} name
 * @param {Record<string, any>} attributes
 * @param {...Child} children
 * @returns {HTMLElement}
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(attribute, value);
    else if (value === true) made.setAttribute(attribute, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(attribute, String(value));
  }
  fill(made, ...children);
  return made;
}

/**
 * Replace what is in an element.
 *
 * @param {Element} parent
 * @param {...Child} children
 */
export function fill(parent, ...children) {
  parent.replaceChildren(...children.filter((child) => child !== null && child !== undefined).map(asNode));
}

/**
 * Show a text where it differs from what is shown: a live region reads out what is replaced, even by the same.
 *
 * @param {Element} parent
 * @param {string} text
 */
export function setText(parent, text) {
  if (parent.textContent !== text) parent.textContent = text;
}

/**
 * Make a button.
 *
 * @param {string} text
 * @param {() => void} pressed
 * @param {Record<string, any>} attributes
 */
export function button(text, pressed, attributes = {}) {
  return /** @type {HTMLButtonElement} */ (element("button", { type: "button", click: pressed, ...attributes }, text));
}

/**
 * Fill a definition list.
 *
 * @param {Element} list
 * @param {[string, Child][]} facts
 */
export function fillFacts(list, facts) {
  fill(list, ...facts.map(([name, value]) => element("div", { class: value instanceof Element && value.localName === "code" ? "long" : null }, element("dt", {}, name), element("dd", {}, value))));
}

/** @param {Child} child */
function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}
