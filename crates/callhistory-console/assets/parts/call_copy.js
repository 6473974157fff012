// A button that copies a text.

import { html } from "../vendor/lit-html/lit-html.js";

const ICON = html`<svg aria-hidden="true" width="14" height="14" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5">
  <rect x="5.5" y="5.5" width="8" height="8" rx="1.5"></rect><path d="M10.5 5.5v-2a1 1 0 0 0-1-1h-6a1 1 0 0 0-1 1v6a1 1 0 0 0 1 1h2"></path></svg>`;

/**
 * @param {Ctx} ctx
 * @param {() => string} text what is copied; a function, so that a large text is not made before it is asked for
 * @param {string} name what it is, for its label
 * @param {string} [label] the visible text; a symbol without it
 * @returns {Template}
 */
export function copyButton(ctx, text, name, label) {
  const { t } = ctx;
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text());
      ctx.announce(t("call.copied", { name }));
    } catch {
      ctx.announce(t("call.copy-failed", { name }));
    }
  };
  const title = t("call.copy", { name });
  return label === undefined
    ? html`<button class="copy-button" type="button" title=${title} aria-label=${title} @click=${copy}>${ICON}</button>`
    : html`<button class="button" type="button" aria-label=${title} @click=${copy}>${label}</button>`;
}
