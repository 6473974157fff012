// A panel at a button. One is open at a time; Escape and a click elsewhere close it.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ref } from "../vendor/lit-html/directives/ref.js";

export class Popovers {
  /** @param {() => void} update */
  constructor(update) {
    /** The panel that is open. @type {string | null} */
    this.open = null;
    this.update = update;
    /** @param {Event} event */
    this.closeOutside = (event) => {
      const isInside = event.target instanceof Element && event.target.closest("[data-popover]") !== null;
      if (this.open !== null && !isInside) this.close();
    };
  }

  /** @param {AbortSignal} signal until when clicks elsewhere are watched */
  watch(signal) {
    document.addEventListener("pointerdown", this.closeOutside, { signal });
  }

  /** @param {string} name */
  toggle(name) {
    this.open = this.open === name ? null : name;
    this.update();
  }

  /** Closes the panel; the focus goes back to its button. @param {boolean} [moves] */
  close(moves = false) {
    const name = this.open;
    if (name === null) return false;
    this.open = null;
    this.update();
    if (moves) focusLater(() => document.querySelector(`[data-popover="${CSS.escape(name)}"] button`));
    return true;
  }

  /**
   * A button with its panel.
   * @param {string} name
   * @param {{ label: unknown, title?: string, panelTitle: string, buttonClass?: string, describedBy?: string }} texts
   * @param {() => unknown} content
   * @returns {Template}
   */
  render(name, { label, title, panelTitle, buttonClass = "button", describedBy = "" }, content) {
    const isOpen = this.open === name;
    return html`<div class="popover" data-popover=${name}>
      <button class=${buttonClass} type="button" title=${title ?? nothing} aria-haspopup="dialog" aria-expanded=${isOpen ? "true" : "false"}
        aria-describedby=${describedBy === "" ? nothing : describedBy} @click=${() => this.toggle(name)}>${label}</button>
      ${isOpen ? this.panel(panelTitle, content) : nothing}
    </div>`;
  }

  /** @param {string} title @param {() => unknown} content @returns {Template} */
  panel(title, content) {
    return html`<div class="popover-panel" role="dialog" aria-label=${title} @keydown=${(/** @type {KeyboardEvent} */ event) => this.key(event)}
      ${ref(focusFirst)}>${content()}</div>`;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key !== "Escape" || event.isComposing) return;
    event.preventDefault();
    event.stopPropagation();
    this.close(true);
  }
}

/** The first field of a panel, or what it names. @param {Element | undefined} panel */
function focusFirst(panel) {
  if (panel === undefined) return;
  focusLater(() => panel.querySelector("[data-autofocus]") ?? panel.querySelector("button, input, select, textarea"));
}

/** After the render that is planned. @param {() => Element | null} find */
export function focusLater(find) {
  requestAnimationFrame(() => requestAnimationFrame(() => {
    const element = find();
    if (element instanceof HTMLElement) element.focus();
  }));
}

/** Moves the focus among the buttons of a list by the arrow keys. @param {KeyboardEvent} event */
export function moveInList(event) {
  const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
  const list = event.currentTarget;
  if (step === 0 || !(list instanceof Element)) return;
  const buttons = /** @type {HTMLElement[]} */ ([...list.querySelectorAll("button")]);
  const at = buttons.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  buttons.at((at + step) % buttons.length)?.focus();
  event.preventDefault();
}
