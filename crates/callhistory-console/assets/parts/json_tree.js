// Free-form data as a tree that opens and closes, and as a table where an object has plain values only.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { isObject, isScalar, JsonNumber, scalarText } from "./json.js";

/** Members that are shown at once; further ones on demand. */
const STEP = 100;
/** A tree with no more members than this begins open. */
const OPEN_SIZE = 12;
/** Texts longer than this begin short. */
const LONG_TEXT = 2000;

/** What is open, and how much of it is shown; kept while the page is. */
export class TreeState {
  /** @param {() => void} update */
  constructor(update) {
    this.update = update;
    /** @type {Map<string, boolean>} */
    this.open = new Map();
    /** @type {Map<string, number>} */
    this.shown = new Map();
  }

  /** @param {string} path @param {number} limit */
  more(path, limit) {
    this.shown.set(path, limit);
    this.update();
  }
}

/** @param {any} value @returns {Array<[string, any]>} */
const entriesOf = (value) => (isObject(value) ? [...value] : value.map((/** @type {any} */ item, /** @type {number} */ index) => [String(index), item]));

/** @param {any} value */
const sizeOf = (value) => (isObject(value) ? value.size : value.length);

/** @param {any} value */
function typeOf(value) {
  if (value === null) return "null";
  return value instanceof JsonNumber ? "number" : typeof value;
}

/**
 * @param {Ctx} ctx
 * @param {any} value
 * @param {TreeState} state
 * @param {string} path names the value within the page
 * @returns {Template}
 */
export function jsonTree(ctx, value, state, path) {
  if (isScalar(value)) return scalar(ctx, value, state, path);
  if (sizeOf(value) === 0) return html`<span class="muted">${ctx.t("call.empty-value")}</span>`;
  return html`<dl class="json-tree">${members(ctx, value, state, path)}</dl>`;
}

/** @param {Ctx} ctx @param {any} value @param {TreeState} state @param {string} path */
function scalar(ctx, value, state, path) {
  const text = scalarText(value);
  const limit = state.shown.get(path) ?? LONG_TEXT;
  const isCut = text.length > limit;
  return html`<span class="json-${typeOf(value)}" dir="auto">${isCut ? `${text.slice(0, limit)}…` : text}</span>${
    isCut ? html` <button class="link-button" type="button" @click=${() => state.more(path, Infinity)}>${ctx.t("call.show-all")}</button>` : nothing}`;
}

/** @param {Ctx} ctx @param {any} value @param {TreeState} state @param {string} path @returns {any} */
function members(ctx, value, state, path) {
  const entries = entriesOf(value);
  const limit = state.shown.get(path) ?? STEP;
  const rest = entries.length - limit;
  return html`${entries.slice(0, limit).map(([name, item]) => row(ctx, name, item, state, `${path}/${name}`))}
    ${rest > 0 ? html`<div class="json-row"><dt></dt><dd><button class="link-button" type="button"
      @click=${() => state.more(path, limit + 10 * STEP)}>${ctx.t("call.show-more", { count: rest })}</button></dd></div>` : nothing}`;
}

/** @param {Ctx} ctx @param {string} name @param {any} item @param {TreeState} state @param {string} path @returns {Template} */
function row(ctx, name, item, state, path) {
  if (isScalar(item) || sizeOf(item) === 0) {
    return html`<div class="json-row"><dt dir="auto">${name}</dt><dd>${jsonTree(ctx, item, state, path)}</dd></div>`;
  }
  const isOpen = state.open.get(path) ?? sizeOf(item) <= OPEN_SIZE;
  /** @param {Event} event */
  const toggle = (event) => {
    const open = /** @type {HTMLDetailsElement} */ (event.currentTarget).open;
    if (open === isOpen) return;
    state.open.set(path, open);
    state.update();
  };
  const kind = Array.isArray(item) ? "call.items" : "call.members";
  return html`<div class="json-row json-row-nested"><dt class="visually-hidden">${name}</dt><dd>
    <details .open=${isOpen} @toggle=${toggle}>
      <summary><span dir="auto">${name}</span> <span class="muted">${ctx.t(kind, { count: sizeOf(item) })}</span></summary>
      ${isOpen ? jsonTree(ctx, item, state, path) : nothing}
    </details></dd></div>`;
}
