// The call as a command, as code, and as the text of the response.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { PREFIX, urlOf } from "../api.js";
import { serialize } from "../url_state.js";
import { copyButton } from "./call_copy.js";
import { indentJson } from "./json.js";
import { save } from "./call_originals.js";

/** Lines that are shown at once; a browser is slow with a million of them. */
const MAX_LINES = 3000;

/** A word of a POSIX shell. @param {string} text */
export const shellWord = (text) => `'${text.replace(/'/g, "'\\''")}'`;

/** A literal of Rust. @param {string} text */
export const rustLiteral = (text) =>
  `"${text.replace(/["\\]/g, "\\$&").replace(/[\p{Cc}\p{Cf}]/gu, (sign) => `\\u{${(sign.codePointAt(0) ?? 0).toString(16)}}`)}"`;

/**
 * A command that asks what the page asks. It has no key, only the name of a variable for it.
 * @param {Ctx} ctx
 * @param {string} url as `urlOf` returns it
 * @param {string[]} [more] arguments
 */
export function curlCommand({ session }, url, more = []) {
  const lines = [`curl -sS --fail-with-body ${shellWord(location.origin + url)}`, `-H ${shellWord(`x-workspace-id: ${session.workspace}`)}`];
  if (session.key !== "") lines.push('-H "x-api-key: $CALLHISTORY_API_KEY"');
  return [...lines, ...more].join(" \\\n  ");
}

/** The client for this server, also behind a proxy with a prefix. @param {Ctx} ctx */
export function rustClient({ session }) {
  const key = session.key === "" ? "" : '\n    .api_key(std::env::var("CALLHISTORY_API_KEY")?)';
  return `let client = callhistory_client::Client::builder(${rustLiteral(location.origin + PREFIX)})
    .workspace(${rustLiteral(session.workspace)})${key}
    .build()?;`;
}

/** A link to the call alone, without the filters that led here. @param {Ctx} ctx */
export function permalink({ state }) {
  return location.origin + location.pathname + serialize({ ...state, params: new Map() });
}

/** @param {Ctx} ctx @returns {Template} */
export function codeView(ctx) {
  const { t } = ctx;
  const curl = curlCommand(ctx, urlOf(encodeURIComponent(ctx.state.id)));
  const rust = `${rustClient(ctx)}\nlet call = client.get_call(${rustLiteral(ctx.state.id)}).await?;`;
  return html`<section class="card call-panel"><h2>${t("call.code")}</h2>
    <details><summary>curl</summary><pre class="call-code" tabindex="0" aria-label="curl">${curl}</pre>${copyButton(ctx, () => curl, "curl", t("call.copy-text"))}</details>
    <details><summary>Rust</summary><pre class="call-code" tabindex="0" aria-label="Rust">${rust}</pre>${copyButton(ctx, () => rust, "Rust", t("call.copy-text"))}</details>
  </section>`;
}

/** The raw record: open or not, and how much of it. */
export class RawState {
  /** @param {string} text of the response @param {() => void} update */
  constructor(text, update) {
    this.text = text;
    this.update = update;
    this.isOpen = false;
    this.isWhole = false;
    /** @type {string[] | null} */
    this.lines = null;
  }

  /** Takes the text of a later version of the record. @param {string} text */
  renew(text) {
    this.text = text;
    this.lines = this.isOpen ? indentJson(text).split("\n") : null;
  }

  /** @param {boolean} open */
  toggle(open) {
    if (open === this.isOpen) return;
    this.isOpen = open;
    // The text of the response, with white space and nothing else added.
    this.lines ??= indentJson(this.text).split("\n");
    this.update();
  }
}

/** @param {Ctx} ctx @param {RawState} raw @returns {Template} */
export function rawView(ctx, raw) {
  const { t } = ctx;
  const lines = raw.lines ?? [];
  const shown = raw.isWhole ? lines : lines.slice(0, MAX_LINES);
  return html`<section class="card call-panel"><h2>${t("call.raw")}</h2>
    <div class="call-row">${copyButton(ctx, () => raw.text, "JSON", t("call.copy-json"))}
      <button class="button" type="button" @click=${() => save(new Blob([raw.text]), `${ctx.state.id.replace(/[^A-Za-z0-9._-]+/g, "_").slice(0, 80)}.json`)}>${t("call.download-json")}</button></div>
    <details .open=${raw.isOpen} @toggle=${(/** @type {Event} */ event) => raw.toggle(/** @type {HTMLDetailsElement} */ (event.currentTarget).open)}>
      <summary>${t("call.show-raw")} <span class="muted">${ctx.format.bytes(new Blob([raw.text]).size)}</span></summary>
      ${raw.isOpen ? html`<pre class="call-code" tabindex="0" aria-label=${t("call.raw")}>${shown.join("\n")}</pre>
        ${shown.length < lines.length ? html`<button class="link-button" type="button" @click=${() => { raw.isWhole = true; raw.update(); }}>${t("call.more-lines", { count: lines.length - shown.length })}</button>` : nothing}` : nothing}
    </details>
  </section>`;
}
