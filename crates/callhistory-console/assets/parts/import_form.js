// The form that takes files, and the list of the imports.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { isAborted } from "../api.js";
import { formatOf, ImportJobs } from "./import_jobs.js";
import { importReport } from "./import_report.js";
import { errorState } from "./states.js";

const jobs = new ImportJobs();
/** @type {import("./import_jobs.js").ImportOptions} */
let options = { mode: "replace", handling: "lenient", format: "", isAtomic: false, isForeign: false };
/** @type {File[]} */
let files = [];
let isOver = false;
let workspace = "";

/** @param {Ctx} ctx Forgets what belongs to another workspace. */
export function enterImports(ctx) {
  if (workspace === ctx.state.workspace) return;
  workspace = ctx.state.workspace;
  files = [];
  jobs.stop();
  jobs.clear();
}

/** @param {Ctx} ctx @returns {Template} */
export function importForm(ctx) {
  const { t } = ctx;
  return html`
    <section class="card operate-import" aria-labelledby="import-title">
      <h2 id="import-title">${t("operate.import")}</h2>
      <p class="muted">${t("operate.import.text")}</p>
      <label class="operate-drop ${isOver ? "operate-drop-over" : ""}"
        @dragover=${(/** @type {DragEvent} */ event) => over(ctx, event, true)}
        @dragleave=${(/** @type {DragEvent} */ event) => over(ctx, event, false)}
        @drop=${(/** @type {DragEvent} */ event) => drop(ctx, event)}>
        <span>${t("operate.import.drop")}</span>
        <span class="button">${t("operate.import.choose")}</span>
        <input class="visually-hidden" type="file" multiple accept=".json,.ndjson,.jsonl,.csv,.gz"
          @change=${(/** @type {Event} */ event) => choose(ctx, event)}>
      </label>
      ${files.length === 0 ? nothing : chosen(ctx)}
      ${jobs.jobs.length === 0 ? nothing : list(ctx)}
    </section>`;
}

/** @param {Ctx} ctx @param {DragEvent} event @param {boolean} isNow */
function over(ctx, event, isNow) {
  event.preventDefault();
  if (isOver === isNow) return;
  isOver = isNow;
  ctx.update();
}

/** @param {Ctx} ctx @param {DragEvent} event */
function drop(ctx, event) {
  event.preventDefault();
  isOver = false;
  take(ctx, event.dataTransfer?.files ?? []);
}

/** @param {Ctx} ctx @param {Event} event */
function choose(ctx, event) {
  const input = /** @type {HTMLInputElement} */ (event.currentTarget);
  take(ctx, input.files ?? []);
  // The same file can be chosen again after it was mended.
  input.value = "";
}

/** @param {Ctx} ctx @param {Iterable<File>} more */
function take(ctx, more) {
  files = [...files, ...more];
  ctx.announce(ctx.t("operate.import.chosen", { count: files.length }));
  ctx.update();
}

/** @param {Ctx} ctx The chosen files, and how to import them. */
function chosen(ctx) {
  const { t, format } = ctx;
  const change = (/** @type {Partial<import("./import_jobs.js").ImportOptions>} */ some) => {
    options = { ...options, ...some };
    ctx.update();
  };
  const start = (/** @type {Event} */ event) => {
    event.preventDefault();
    jobs.add(ctx, files, options);
    files = [];
    ctx.update();
  };
  const select = (/** @type {string} */ label, /** @type {string} */ value, /** @type {Array<[string, string]>} */ values,
    /** @type {(value: string) => void} */ onChange) => html`
    <label class="field">${label}
      <select class="input" @change=${(/** @type {Event} */ event) => onChange(/** @type {HTMLSelectElement} */ (event.currentTarget).value)}>
        ${values.map(([name, text]) => html`<option value=${name} ?selected=${name === value}>${text}</option>`)}
      </select></label>`;
  const check = (/** @type {string} */ label, /** @type {boolean} */ value, /** @type {(value: boolean) => void} */ onChange) => html`
    <label class="check"><input type="checkbox" .checked=${value}
      @change=${(/** @type {Event} */ event) => onChange(/** @type {HTMLInputElement} */ (event.currentTarget).checked)}> ${label}</label>`;
  return html`
    <form class="operate-options" @submit=${start}>
      <ul class="operate-files">${files.map((file) => html`<li><span>${file.name}</span>
        <span class="muted">${format.bytes(file.size)} · ${formatName(t, file.name)}</span></li>`)}</ul>
      <div class="operate-fields">
        ${select(t("operate.mode"), options.mode, ["replace", "merge", "create"].map((name) => [name, t(`operate.mode.${name}`)]),
          (mode) => change({ mode }))}
        ${select(t("operate.handling"), options.handling, ["lenient", "strict"].map((name) => [name, t(`operate.handling.${name}`)]),
          (handling) => change({ handling }))}
        ${select(t("operate.format"), options.format, [["", t("operate.format.auto")], ["application/x-ndjson", "JSON lines"],
          ["application/json", "JSON"], ["text/csv", "CSV"]], (chosenFormat) => change({ format: chosenFormat }))}
      </div>
      ${check(t("operate.atomic"), options.isAtomic, (isAtomic) => change({ isAtomic }))}
      ${check(t("operate.foreign"), options.isForeign, (isForeign) => change({ isForeign }))}
      <div class="operate-actions">
        <button class="button button-primary" type="submit">${t("operate.import.start", { count: files.length })}</button>
        <button class="button" type="button" @click=${() => { files = []; ctx.update(); }}>${t("operate.import.discard")}</button>
      </div>
    </form>`;
}

/** @param {Translate} t @param {string} name */
function formatName(t, name) {
  const { mediaType, isGzip } = formatOf(name);
  const names = /** @type {Record<string, string>} */ ({
    "text/csv": "CSV", "application/json": "JSON", "application/x-ndjson": "JSON lines",
  });
  return `${names[mediaType] ?? t("operate.format.unknown")}${isGzip ? ", gzip" : ""}`;
}

/** @param {Ctx} ctx */
function list(ctx) {
  const { t } = ctx;
  return html`
    <ol class="operate-jobs">${jobs.jobs.map((job) => html`<li>${one(ctx, job)}</li>`)}</ol>
    <div class="operate-actions">
      ${jobs.isBusy ? html`<button class="button" type="button" @click=${() => jobs.stop()}>${t("operate.import.stop")}</button>`
        : html`<a class="button" href="#/calls?workspace=${encodeURIComponent(ctx.state.workspace)}">${t("operate.import.show")}</a>
          <button class="button" type="button" @click=${() => { jobs.clear(); ctx.update(); }}>${t("operate.import.clear")}</button>`}
    </div>`;
}

/** @param {Ctx} ctx @param {import("./import_jobs.js").ImportJob} job */
function one(ctx, job) {
  const { t, format } = ctx;
  const { file, state, sent } = job;
  const label = t(`operate.import.${state}`, { name: file.name });
  return html`
    <h3>${label}</h3>
    ${state !== "sending" ? nothing : html`
      <progress max=${Math.max(file.size, 1)} .value=${sent} aria-label=${label}></progress>
      <span class="muted">${sent < file.size
        ? t("operate.import.sent", { sent: format.bytes(sent), size: format.bytes(file.size) }) : t("operate.import.writing")}</span>`}
    ${job.report === null ? nothing : importReport(ctx, job.report, file.name)}
    ${job.error === null || isAborted(job.error) ? nothing
      : errorState(ctx, job.error, () => { jobs.jobs = jobs.jobs.filter((other) => other !== job); jobs.add(ctx, [file], job.options); ctx.update(); })}`;
}
