// A button that copies a text.

import { html } from "../vendor/lit-html/lit-html.js";

/**
 * @param {Ctx} ctx
 * @param {string} text
 * @param {string} label what is copied, for screen readers
 * @returns {Template}
 */
export function copyButton(ctx, text, label) {
  return html`<button class="button button-quiet copy" type="button" aria-label=${label} title=${label}
    @click=${() => copy(ctx, text)}>${ctx.t("copy.button")}</button>`;
}

/**
 * @param {Ctx} ctx
 * @param {string} text
 */
export async function copy(ctx, text) {
  try {
    // Browsers have no clipboard for pages of other machines without TLS.
    await navigator.clipboard.writeText(text);
    ctx.announce(ctx.t("copy.done"));
  } catch {
    ctx.announce(ctx.t("copy.failed"));
  }
}
