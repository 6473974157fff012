// The dialog that lists the shortcuts.

import { html } from "../vendor/lit-html/lit-html.js";
import { ref } from "../vendor/lit-html/directives/ref.js";

/** @type {Array<[string, string]>} */
const EVERYWHERE = [
  ["?", "help.this"],
  ["g c", "help.calls"],
  ["g h", "help.charts"],
  ["g o", "help.operate"],
  ["Esc", "help.escape"],
];

/** @param {import("../app.js").ShellType} shell @returns {Template} */
export function helpDialog(shell) {
  const { t, page } = shell;
  const close = () => {
    shell.isHelpOpen = false;
    shell.update();
  };
  return html`
    <dialog class="help" aria-labelledby="help-title" ${ref(open)} @close=${close}>
      <h2 id="help-title">${t("help.title")}</h2>
      ${list(t, EVERYWHERE)}
      ${page?.help === undefined ? "" : html`<h3>${shell.ctx === null ? "" : page.title(shell.ctx)}</h3>${list(t, page.help)}`}
      <button class="button" type="button" autofocus @click=${closeDialog}>${t("help.close")}</button>
    </dialog>`;
}

/** A dialog opens once it is in the document. @param {Element | undefined} element */
function open(element) {
  queueMicrotask(() => {
    if (element instanceof HTMLDialogElement && element.isConnected && !element.open) element.showModal();
  });
}

/** @param {Event} event */
function closeDialog(event) {
  event.preventDefault();
  if (event.currentTarget instanceof Element) event.currentTarget.closest("dialog")?.close();
}

/** @param {Translate} t @param {Array<[string, string]>} shortcuts */
function list(t, shortcuts) {
  return html`<dl class="help-list">${shortcuts.map(([keys, text]) => html`
    <div><dt>${keys.split(" ").map((key) => html`<kbd>${key}</kbd>`)}</dt><dd>${t(text)}</dd></div>`)}
  </dl>`;
}
