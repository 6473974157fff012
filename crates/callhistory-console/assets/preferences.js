// What a browser keeps of the person who uses it. Storage may be switched off, full, or hold anything.

const PREFIX = "callhistory.";

/**
 * @param {string} name
 * @returns {string | null} the kept text, or null
 */
export function readPreference(name) {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null;
  }
}

/**
 * @param {string} name
 * @param {string | null} value null removes it
 */
export function writePreference(name, value) {
  try {
    if (value === null) localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, value);
  } catch {
    // The choice lasts until the page is closed.
  }
}

/**
 * A kept value as JSON, for which `isValid` holds; anything else is ignored.
 * @template T
 * @param {string} name
 * @param {(value: unknown) => value is T} isValid
 * @param {T} otherwise
 * @returns {T}
 */
export function readJson(name, isValid, otherwise) {
  const text = readPreference(name);
  if (text === null) return otherwise;
  try {
    const value = JSON.parse(text);
    return isValid(value) ? value : otherwise;
  } catch {
    return otherwise;
  }
}

/**
 * @param {unknown} value
 * @returns {value is string[]}
 */
export function isTexts(value) {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}
