// Export of the list or of the selected calls, and the same list as a command and as code.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ref } from "../vendor/lit-html/directives/ref.js";
import { ApiError, isAborted, NetworkError, urlOf } from "../api.js";
import { curlCommand, rustClient, rustLiteral } from "./call_code.js";
import { chosenColumns, fieldsOf } from "./calls_columns.js";
import { filterOf, sortOf } from "./calls_query.js";
import { copyButton } from "./call_copy.js";
import { missingScope } from "./states.js";

const FORMATS = ["csv", "xlsx", "ndjson", "parquet"];
/** The server takes a parameter of this length; IDs beyond that are exported with the filter. */
const MAX_PARAM_BYTES = 32_000;
const PROGRESS_INTERVAL = 100;

/** @typedef {{ format: string, state: "idle" | "running" | "done", bytes: number, error: unknown, name: string }} Progress */

export class ExportDialog {
  /** @param {import("./calls_model.js").CallsModel} model @param {() => void} close */
  constructor(model, close) {
    this.model = model;
    this.onClose = close;
    this.isSelection = model.selected.size > 0;
    this.hasColumnsOnly = false;
    /** @type {Progress} */
    this.progress = { format: "", state: "idle", bytes: 0, error: null, name: "" };
    /** @type {AbortController | null} */
    this.request = null;
  }

  /** What is exported, as parameters of the API. @param {Ctx} ctx */
  params(ctx) {
    const params = this.isSelection ? new Map([["callIds", JSON.stringify([...this.model.selected])]]) : filterOf(ctx.state, ctx.format.timeZone);
    if (sortOf(ctx.state) !== "-startTime") params.set("sort", sortOf(ctx.state));
    return params;
  }

  /** @param {Ctx} ctx @returns {Template} */
  render(ctx) {
    const { t } = ctx;
    const { selected } = this.model;
    const scope = (/** @type {boolean} */ isSelection, /** @type {string} */ label) => html`<label class="check">
      <input type="radio" name="scope" .checked=${this.isSelection === isSelection} ?disabled=${isSelection && selected.size === 0}
        @change=${() => { this.isSelection = isSelection; ctx.update(); }}>${label}</label>`;
    return html`<dialog class="calls-export" aria-labelledby="calls-export-title" ${ref(show)} @close=${() => this.closed()}>
      <h2 id="calls-export-title">${t("calls.export")}</h2>
      <div class="calls-export-scope" role="radiogroup" aria-label=${t("calls.export.what")}>
        ${scope(false, t("calls.export.list"))}
        ${scope(true, t("calls.export.selection", { count: selected.size }))}
      </div>
      <label class="check"><input type="checkbox" .checked=${this.hasColumnsOnly}
        @change=${(/** @type {Event} */ event) => { this.hasColumnsOnly = /** @type {HTMLInputElement} */ (event.currentTarget).checked; }}>${t("calls.export.columns")}</label>
      <div class="calls-formats">${FORMATS.map((format) => html`
        <button class="button" type="button" data-format=${format} ?disabled=${this.progress.state === "running"} @click=${() => void this.start(ctx, format)}>
          <strong>${format}</strong><span>${t(`calls.export.${format}`)}</span></button>`)}</div>
      <div role="status">${this.status(ctx)}</div>
      ${this.code(ctx)}
      <form method="dialog" class="calls-export-buttons"><button class="button" type="button" @click=${close}>${t("calls.export.close")}</button></form>
    </dialog>`;
  }

  /** @param {Ctx} ctx */
  status(ctx) {
    const { t, format } = ctx;
    const { state, bytes, error, name } = this.progress;
    if (state === "running") {
      return html`<p>${t("calls.export.running", { size: format.bytes(bytes) })}
        <button class="button" type="button" @click=${() => this.request?.abort()}>${t("calls.export.cancel")}</button></p>`;
    }
    if (error !== null) return html`<p class="filters-error">${describe(ctx, error, bytes)}</p>`;
    return state === "done" ? html`<p>${t("calls.export.done", { name, size: format.bytes(bytes) })}</p>` : nothing;
  }

  /** @param {Ctx} ctx */
  code(ctx) {
    const { t } = ctx;
    const [curl, rust] = [curlCommand(ctx, urlOf("", this.params(ctx))), this.rust(ctx)];
    return html`<details class="calls-code"><summary>${t("calls.export.curl")}</summary>
        <pre tabindex="0" aria-label="curl">${curl}</pre>${copyButton(ctx, () => curl, "curl", t("calls.copy"))}</details>
      <details class="calls-code"><summary>${t("calls.export.rust")}</summary>
        <pre tabindex="0" aria-label="Rust">${rust}</pre>${copyButton(ctx, () => rust, "Rust", t("calls.copy"))}</details>`;
  }

  /** @param {Ctx} ctx */
  rust(ctx) {
    const query = urlOf("", this.params(ctx)).split("?")[1] ?? "";
    return `use callhistory_client::ListQuery;
use futures_util::TryStreamExt as _;

${rustClient(ctx)}
let query = ListQuery::from_query(${rustLiteral(query)})?;
let mut calls = std::pin::pin!(client.stream_calls(query));
while let Some(call) = calls.try_next().await? {
    println!("{}", call.id);
}`;
  }

  /** @param {Ctx} ctx @param {string} format */
  async start(ctx, format) {
    const request = (this.request = new AbortController());
    const signal = AbortSignal.any([request.signal, ctx.signal]);
    const name = fileName(ctx, format, this.isSelection);
    this.progress = { format, state: "running", bytes: 0, error: null, name };
    ctx.update();
    try {
      const params = this.params(ctx).set("format", format);
      if (this.hasColumnsOnly) params.set("fields", exportFields(fieldsOf(chosenColumns(ctx.state)), format));
      if (this.isSelection && (params.get("callIds") ?? "").length > MAX_PARAM_BYTES) throw new RangeError("selection");
      const blob = await this.download(ctx, params, signal);
      save(blob, name);
      this.progress.state = "done";
      ctx.announce(ctx.t("calls.export.done", { name, size: ctx.format.bytes(blob.size) }));
    } catch (error) {
      this.progress.state = "idle";
      this.progress.error = isAborted(error) ? null : error;
    }
    if (!ctx.signal.aborted) ctx.update();
  }

  /**
   * Reads the whole body before anything is saved: an export that is aborted must not look like one that is complete.
   * @param {Ctx} ctx
   * @param {Map<string, string>} params
   * @param {AbortSignal} signal
   */
  async download(ctx, params, signal) {
    // Local times are for people; a server that has no zones there says so.
    if (params.get("format") === "xlsx" && ctx.format.timeZone !== "UTC") params.set("timezone", ctx.format.timeZone);
    const response = await ctx.api.fetch(urlOf("export", params), { signal });
    /** @type {BlobPart[]} */
    const chunks = [];
    let shown = performance.now();
    try {
      const reader = response.body?.getReader();
      for (let part = await reader?.read(); part !== undefined && !part.done; part = await reader?.read()) {
        chunks.push(part.value);
        this.progress.bytes += part.value.byteLength;
        if (performance.now() - shown > PROGRESS_INTERVAL) {
          shown = performance.now();
          ctx.update();
        }
      }
    } catch (error) {
      throw isAborted(error) ? error : new NetworkError();
    }
    return new Blob(chunks, { type: response.headers.get("content-type") ?? "" });
  }

  closed() {
    this.request?.abort();
    this.onClose();
  }
}

/** @param {Ctx} ctx @param {unknown} error @param {number} bytes @returns {string} */
function describe({ t, format }, error, bytes) {
  if (error instanceof RangeError) return t("calls.export.too-many");
  if (error instanceof NetworkError) return t("calls.export.broken", { size: format.bytes(bytes) });
  if (!(error instanceof ApiError)) return String(error);
  if (error.status === 403) return t("state.forbidden.text", { scope: missingScope(error) || "calls:export" });
  return t("calls.export.refused", { detail: error.detail });
}

/** A table has columns for the amount and the currency of the cost. @param {string} fields @param {string} format */
function exportFields(fields, format) {
  return format === "ndjson" ? fields : fields.split(",").map((name) => (name === "cost" ? "cost.customer_charge,cost.currency" : name)).join(",");
}

/** @param {Ctx} ctx @param {string} format @param {boolean} isSelection */
function fileName({ session }, format, isSelection) {
  const workspace = session.workspace.replace(/[^A-Za-z0-9._-]+/g, "_").slice(0, 60);
  const time = new Date().toISOString().slice(0, 16).replace(/[:T]/g, "-");
  return `calls-${workspace}-${time}${isSelection ? "-selection" : ""}.${format}`;
}

/** @param {Blob} blob @param {string} name */
function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** @param {Element | undefined} dialog */
function show(dialog) {
  // It is not in the document until the render is over.
  if (dialog instanceof HTMLDialogElement) requestAnimationFrame(() => { if (dialog.isConnected && !dialog.open) dialog.showModal(); });
}

/** @param {Event} event */
function close(event) {
  if (event.currentTarget instanceof Element) event.currentTarget.closest("dialog")?.close();
}
