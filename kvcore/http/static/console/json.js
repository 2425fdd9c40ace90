/**
 * JSON as text. `JSON.parse` loses how numbers were written (1.0, 1e400, 20 digits) and `JSON.stringify` cannot bring that
 * back: what is shown or cut out here keeps every token as it stands.
 */

// Strings are matched without trying anything twice, so that long ones take neither time nor stack.
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\]:,]|[^\s"{}[\]:,]+/gs;

/**
 * Tell whether a text is JSON.
 *
 * @param {string} text
 */
export function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Return JSON with line ends and indentation for reading, and nothing else changed.
 *
 * @param {string} text valid JSON
 */
export function indented(text) {
  const parts = [];
  let depth = 0;
  let before = "";
  for (const [token] of text.matchAll(TOKEN)) {
    const isEnd = token === "}" || token === "]";
    if (isEnd) depth -= 1;
    const isEmpty = isEnd && (before === "{" || before === "[");
    if (!isEmpty && (isEnd || before === "{" || before === "[" || before === ",")) parts.push("\n", "  ".repeat(depth));
    parts.push(token === ":" ? ": " : token);
    if (token === "{" || token === "[") depth += 1;
    before = token;
  }
  return parts.join("");
}

/**
 * Return a member of nested objects as it is written; null where there is none.
 *
 * @param {string} text valid JSON
 * @param {...string} path names of members, from the outermost
 */
export function memberText(text, ...path) {
  let depth = 0; // objects and arrays that are open
  let found = 0; // names of the path that are open, one below the other
  let start = -1; // of the value that is looked for
  let name = "";
  let end = 0;
  for (const token of text.matchAll(TOKEN)) {
    const [word] = token;
    const isOver = found > 0 && depth === found && (word === "," || word === "}");
    if (isOver) return start < 0 ? null : text.slice(start, end).trim();
    if (start < 0 && depth === found + 1) {
      if (word === ":" && JSON.parse(name) === path[found]) {
        found += 1;
        if (found === path.length) start = token.index + 1;
      }
      name = word;
    }
    if (word === "{" || word === "[") depth += 1;
    if (word === "}" || word === "]") depth -= 1;
    end = token.index + word.length;
  }
  return null;
}
