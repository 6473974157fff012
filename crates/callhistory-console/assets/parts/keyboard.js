// The shortcuts of the page and of the frame.

import { serialize, withPage } from "../url_state.js";

/** The second key of a sequence that begins with `g`, and the page that it opens. */
const GO = /** @type {Record<string, string>} */ ({ c: "calls", h: "charts", o: "operate" });
let isGoing = false;

/** @param {EventTarget | null} target @returns {boolean} whether keys are text for this element */
export function isTyping(target) {
  if (!(target instanceof HTMLElement)) return false;
  const isText = target instanceof HTMLInputElement && !["checkbox", "radio", "button", "file"].includes(target.type);
  return isText || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable;
}

/**
 * @param {import("../app.js").ShellType} shell
 * @param {KeyboardEvent} event
 */
export function handleKey(shell, event) {
  const { ctx, page } = shell;
  if (ctx === null || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (document.querySelector("dialog[open]") !== null) return;
  if (isTyping(event.target)) {
    if (event.key === "Escape" && event.target instanceof HTMLElement) event.target.blur();
    return;
  }
  const wasGoing = isGoing;
  isGoing = event.key === "g";
  const target = wasGoing ? GO[event.key] : undefined;
  const action = page?.keys[event.key];
  if (target !== undefined && shell.state.page !== "sign-in") {
    ctx.navigate(serialize(withPage(shell.state, target)));
  } else if (event.key === "?") {
    shell.isHelpOpen = true;
    shell.update();
  } else if (action !== undefined) {
    action(ctx, event);
  } else {
    return;
  }
  event.preventDefault();
}
