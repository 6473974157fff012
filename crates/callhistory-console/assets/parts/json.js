// JSON without loss: numbers keep their digits, objects the order and the names of their members.

/** A number of a document, with the digits that were sent. */
export class JsonNumber {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
  }

  toString() {
    return this.text;
  }

  valueOf() {
    return Number(this.text);
  }
}

/** @typedef {Map<string, any>} JsonObject */
/** @typedef {null | boolean | string | JsonNumber | JsonObject | any[]} JsonValue */

const BLANK = /[ \t\n\r]*/y;
const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

class Reader {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  skipBlank() {
    BLANK.lastIndex = this.at;
    BLANK.exec(this.text);
    this.at = BLANK.lastIndex;
  }

  /** @returns {never} */
  fail() {
    throw new SyntaxError(`not JSON at character ${this.at}`);
  }

  /** @returns {JsonValue} */
  value() {
    this.skipBlank();
    switch (this.text[this.at]) {
      case "{": return this.object();
      case "[": return this.array();
      case '"': return this.string();
      case "t": return this.word("true", true);
      case "f": return this.word("false", false);
      case "n": return this.word("null", null);
      default: return this.number();
    }
  }

  /** @param {string} word @param {JsonValue} value */
  word(word, value) {
    if (!this.text.startsWith(word, this.at)) this.fail();
    this.at += word.length;
    return value;
  }

  number() {
    NUMBER.lastIndex = this.at;
    const found = NUMBER.exec(this.text);
    if (!found) this.fail();
    this.at = NUMBER.lastIndex;
    return new JsonNumber(found[0]);
  }

  /** Finds the end by its quotation mark: one expression over a text of a megabyte would exhaust the stack. */
  string() {
    const start = this.at;
    let end = start;
    let backslashes;
    do {
      end = this.text.indexOf('"', end + 1);
      if (end < 0) this.fail();
      backslashes = 0;
      while (this.text[end - 1 - backslashes] === "\\") backslashes += 1;
    } while (backslashes % 2 === 1);
    this.at = end + 1;
    return /** @type {string} */ (JSON.parse(this.text.slice(start, this.at)));
  }

  /** Reads items up to the closing bracket. @param {string} close @param {() => void} item */
  list(close, item) {
    this.at += 1;
    this.skipBlank();
    if (this.text[this.at] === close) {
      this.at += 1;
      return;
    }
    for (;;) {
      item();
      this.skipBlank();
      const mark = this.text[this.at];
      this.at += 1;
      if (mark === close) return;
      if (mark !== ",") this.fail();
      this.skipBlank();
    }
  }

  array() {
    /** @type {JsonValue[]} */
    const items = [];
    this.list("]", () => items.push(this.value()));
    return items;
  }

  object() {
    /** @type {JsonObject} */
    const members = new Map();
    this.list("}", () => {
      if (this.text[this.at] !== '"') this.fail();
      const name = this.string();
      this.skipBlank();
      if (this.text[this.at] !== ":") this.fail();
      this.at += 1;
      members.set(name, this.value());
    });
    return members;
  }
}

/**
 * Parses a document.
 * @param {string} text
 * @returns {JsonValue}
 */
export function parseJson(text) {
  const reader = new Reader(text);
  const value = reader.value();
  reader.skipBlank();
  if (reader.at !== text.length) reader.fail();
  return value;
}

/** @param {unknown} value @returns {value is JsonObject} */
export const isObject = (value) => value instanceof Map;

/** The text of a scalar as it is shown: texts without quotation marks. @param {JsonValue | undefined} value */
export const scalarText = (value) => (value === undefined ? "" : String(value));

/** @param {JsonValue | undefined} value */
export const isScalar = (value) => !(value instanceof Map) && !Array.isArray(value);

/**
 * The member of an object, if there is one.
 * @param {unknown} value @param {string} name
 * @returns {any}
 */
export const member = (value, name) => (value instanceof Map ? value.get(name) : undefined);

/**
 * Indents a value.
 * @param {JsonValue} value
 * @param {string} [indent]
 * @returns {string}
 */
export function prettyJson(value, indent = "") {
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    return `[\n${value.map((item) => inner + prettyJson(item, inner)).join(",\n")}\n${indent}]`;
  }
  if (value instanceof Map) {
    if (value.size === 0) return "{}";
    const members = [...value].map(([name, item]) => `${inner}${JSON.stringify(name)}: ${prettyJson(item, inner)}`);
    return `{\n${members.join(",\n")}\n${indent}}`;
  }
  return value instanceof JsonNumber ? value.text : JSON.stringify(value);
}

/**
 * Indents a document and changes nothing but white space: every number and every text keeps its spelling.
 * @param {string} text a valid document
 * @returns {string}
 */
export function indentJson(text) {
  /** @type {string[]} */
  const out = [];
  let depth = 0;
  const line = () => out.push("\n", "  ".repeat(depth));
  const token = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s"{}[\],:]+/gs;
  let previous = "";
  for (const [part] of text.matchAll(token)) {
    const closes = part === "}" || part === "]";
    if (closes) depth -= 1;
    const empty = closes && (previous === "{" || previous === "[");
    if ((closes && !empty) || ((previous === "{" || previous === "[") && !closes) || previous === ",") line();
    out.push(part === ":" ? ": " : part);
    if (part === "{" || part === "[") depth += 1;
    previous = part;
  }
  return out.join("");
}
