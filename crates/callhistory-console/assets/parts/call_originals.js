// What was received, byte for byte, with its warnings.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ApiError, isAborted } from "../api.js";
import { copyButton } from "./call_copy.js";
import { errorState } from "./states.js";

/** A longer original is shown in part; the download has all of it. */
const MAX_SHOWN = 200_000;
/** Documents that are shown as text, by their media type. */
const TEXT_TYPE = /^(?:text\/|application\/(?:.*json|x-ndjson|x-www-form-urlencoded|xml))|\+(?:json|xml)\b/i;

/** @typedef {{ number: number, receivedAt: string, source: string, mediaType: string, bytes: number, warnings?: Array<{ pointer?: string, code?: string, detail?: string }> }} Original */

export class OriginalsState {
  /** @param {Ctx} ctx */
  constructor(ctx) {
    this.ctx = ctx;
    /** @type {Original[] | null} */
    this.items = null;
    /** @type {unknown} */
    this.failure = null;
    /** @type {{ number: number, text: string, blob: Blob } | null} */
    this.shown = null;
  }

  get path() {
    return `${encodeURIComponent(this.ctx.state.id)}/originals`;
  }

  async load() {
    const { ctx } = this;
    try {
      const { body } = await ctx.api.get(this.path, {}, { signal: ctx.signal });
      [this.items, this.failure] = [Array.isArray(body) ? body : [], null];
    } catch (error) {
      if (isAborted(error)) return;
      this.failure = error;
    }
    ctx.update();
  }

  /** @param {Original} original @returns {Promise<Blob | null>} */
  async read(original) {
    const { ctx } = this;
    try {
      const { urlOf } = await import("../api.js");
      const response = await ctx.api.fetch(urlOf(`${this.path}/${original.number}`), { signal: ctx.signal });
      return await response.blob();
    } catch (error) {
      if (!isAborted(error)) ctx.announce(error instanceof ApiError ? error.detail : ctx.t("state.network"));
      return null;
    }
  }

  /** @param {Original} original */
  async view(original) {
    if (this.shown?.number === original.number) this.shown = null;
    else {
      const blob = await this.read(original);
      if (blob === null) return;
      this.shown = { number: original.number, text: await blob.text(), blob };
    }
    this.ctx.update();
  }

  /** @param {Original} original */
  async download(original) {
    const blob = this.shown?.number === original.number ? this.shown.blob : await this.read(original);
    if (blob === null) return;
    const name = this.ctx.state.id.replace(/[^A-Za-z0-9._-]+/g, "_").slice(0, 80);
    save(blob, `${name}-original-${original.number}.${/json/i.test(original.mediaType) ? "json" : "txt"}`);
  }
}

/** @param {Blob} blob @param {string} name */
export function save(blob, name) {
  const link = document.createElement("a");
  // Opened instead of saved, a document of someone else must not become a page of this origin.
  link.href = URL.createObjectURL(new Blob([blob], { type: "application/octet-stream" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** @param {Ctx} ctx @param {OriginalsState} state @param {Original} original */
function originalRow(ctx, state, original) {
  const { t, format } = ctx;
  const isShown = state.shown?.number === original.number;
  const warnings = original.warnings ?? [];
  return html`<li class="original">
    <div class="original-head"><strong>${t("call.original-number", { number: original.number })}</strong>
      <span>${t("call.original-source")} <span dir="auto">${original.source}</span></span><code dir="auto">${original.mediaType}</code>
      <span>${format.bytes(original.bytes)}</span><span class="muted">${format.dateTime(original.receivedAt)}</span></div>
    ${warnings.length === 0 ? nothing : html`<ul class="original-warnings">${warnings.map((warning) => html`
      <li><code dir="auto">${warning.pointer ?? ""}</code> <span class="warn-text">${warning.code ?? ""}</span> ${warning.detail ?? ""}</li>`)}</ul>`}
    <div class="original-actions">
      ${TEXT_TYPE.test(original.mediaType) ? html`<button class="button" type="button" aria-expanded=${isShown ? "true" : "false"}
        aria-label=${t(isShown ? "call.hide-original" : "call.view-original", { number: original.number })}
        @click=${() => state.view(original)}>${t(isShown ? "call.hide" : "call.view")}</button>` : nothing}
      <button class="button" type="button" aria-label=${t("call.download-original", { number: original.number })}
        @click=${() => state.download(original)}>${t("call.download")}</button></div>
    ${isShown ? shownText(ctx, state) : nothing}
  </li>`;
}

/** @param {Ctx} ctx @param {OriginalsState} state */
function shownText(ctx, state) {
  const text = state.shown?.text ?? "";
  return html`<pre class="call-code" tabindex="0" dir="auto" aria-label=${ctx.t("call.original-number", { number: state.shown?.number ?? 0 })}>${text.slice(0, MAX_SHOWN)}</pre>
    ${text.length > MAX_SHOWN ? html`<p class="muted">${ctx.t("call.cut")}</p>` : nothing}
    ${copyButton(ctx, () => text, ctx.t("call.original"), ctx.t("call.copy-text"))}`;
}

/** @param {Ctx} ctx @param {OriginalsState} state @returns {Template} */
export function originalsView(ctx, state) {
  const { t } = ctx;
  const { items, failure } = state;
  const isForbidden = failure instanceof ApiError && failure.status === 403;
  return html`<section class="card call-panel"><h2>${t("call.originals")}</h2>
    ${isForbidden ? html`<p class="muted">${t("call.originals-forbidden")}</p>`
      : failure !== null ? errorState(ctx, failure, () => void state.load())
      : items === null ? html`<p class="muted">${t("state.loading")}</p>`
      : items.length === 0 ? html`<p class="muted">${t("call.no-originals")}</p>`
      : html`<ul class="originals">${items.map((original) => originalRow(ctx, state, original))}</ul>`}
  </section>`;
}
