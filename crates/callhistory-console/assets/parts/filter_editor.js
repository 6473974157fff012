// The inputs of each kind of filter. A form reads them when it is applied.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";
import { isZone } from "../i18n.js";
import { formatIds, formatSet, METADATA, parseIds, parseSet, PRESETS } from "./filters.js";
import { localParts, moment } from "./period.js";

/** @typedef {import("./filters.js").Filter} Filter */
/** @typedef {import("./filters.js").SetMode} SetMode */
/** @typedef {Record<string, string | null>} Changes of parameters; null removes one */
/**
 * @typedef {object} Editing
 * @property {Ctx} ctx
 * @property {Filter} filter
 * @property {Draft} draft
 * @property {(value: string) => string} label the name of a value, such as that of an agent
 * @property {string[]} values that the workspace has
 * @property {(changes: Changes) => void} apply
 * @property {() => void} update
 */
/** What is edited and not yet applied. @typedef {{ mode: SetMode, values: string[], offered: string[] }} Draft */

const MODES = /** @type {SetMode[]} */ (["any", "none", "present", "absent"]);

/** @param {Map<string, string>} params @param {Filter} filter @returns {Draft} */
export function draftOf(params, filter) {
  const name = filter.params[0] ?? "";
  const set = parseSet(params.get(name) ?? "", filter.kind === "phone");
  return { ...set, offered: [] };
}

/** @param {Editing} editing @returns {Template} */
export function filterEditor(editing) {
  const { ctx, filter } = editing;
  const submit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const data = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    const changes = read(editing, (name) => String(data.get(name) ?? "").trim());
    if (changes !== null) editing.apply(changes);
  };
  return html`<form class="filters-editor" @submit=${submit}>
    ${inputs(editing)}
    <div class="filters-buttons">
      <button class="button button-primary" type="submit">${ctx.t("filters.apply")}</button>
      ${filter.params.some((name) => ctx.state.params.has(name)) ? html`
        <button class="button" type="button" @click=${() => editing.apply(Object.fromEntries(filter.params.map((name) => [name, null])))}>
          ${ctx.t("filters.remove")}</button>` : nothing}
    </div>
  </form>`;
}

/** @param {Editing} editing @returns {Template} */
function inputs(editing) {
  switch (editing.filter.kind) {
    case "set": case "phone": return setInputs(editing);
    case "flag": return flagInput(editing);
    case "number": return numberInputs(editing);
    case "time": return timeInputs(editing);
    case "metadata": return metadataInputs(editing);
    default: return textInput(editing);
  }
}

/**
 * @param {Editing} editing
 * @param {(name: string) => string} value of a field
 * @returns {Changes | null} null if nothing can be applied yet
 */
function read({ ctx, filter, draft }, value) {
  const [first = "", second = ""] = filter.params;
  switch (filter.kind) {
    case "set": case "phone": {
      const typed = value("value");
      const values = typed === "" || draft.values.includes(typed) ? draft.values : [...draft.values, typed];
      return { [first]: formatSet({ mode: draft.mode, values }, filter.kind === "phone") };
    }
    case "number": return { [first]: value("min").replace(",", "."), [second]: value("max").replace(",", ".") };
    case "time": return readTime(ctx, filter, value);
    case "ids": return { [first]: formatIds(parseIds(value("text"))) };
    case "metadata": {
      const name = METADATA + value("name");
      if (name === METADATA || value("text") === "") return null;
      return first === "" || first === name ? { [name]: value("text") } : { [first]: null, [name]: value("text") };
    }
    default: return { [first]: value("text") };
  }
}

/** @param {Ctx} ctx @param {Filter} filter @param {(name: string) => string} value @returns {Changes} */
function readTime(ctx, filter, value) {
  const [after, before] = filter.params.slice(-2);
  const zone = isZone(value("zone")) ? value("zone") : ctx.format.timeZone;
  /** @type {Changes} */
  const changes = { timezone: zone };
  if (filter.id === "started") Object.assign(changes, { range: null, dateRange: null });
  return { ...changes, [after ?? ""]: value("after"), [before ?? ""]: value("before") };
}

/** @param {Editing} editing @returns {Template} */
function setInputs(editing) {
  const { ctx: { t }, filter, draft, update } = editing;
  const hasValues = draft.mode === "any" || draft.mode === "none";
  return html`
    <select class="input" name="mode" aria-label=${t("filters.mode")} data-autofocus
      @change=${(/** @type {Event} */ event) => {
        draft.mode = MODES.find((mode) => mode === /** @type {HTMLSelectElement} */ (event.currentTarget).value) ?? "any";
        update();
      }}>
      ${MODES.map((mode) => html`<option value=${mode} ?selected=${mode === draft.mode}>${t(`filters.mode.${mode}`)}</option>`)}
    </select>
    ${hasValues ? html`
      ${valueList(editing)}
      <div class="filters-add-value">
        <input class="input" name="value" autocomplete="off" spellcheck="false" aria-label=${t("filters.value")} placeholder=${t(`filters.value.${filter.kind}`)}>
        <button class="button" type="button" @click=${(/** @type {Event} */ event) => addValue(editing, event)}>${t("filters.add-value")}</button>
      </div>
      ${filter.kind === "phone" ? html`<p class="muted">${t("filters.phone.help")}</p>` : nothing}` : nothing}`;
}

/** Values that can be checked: those that are chosen, those that the workspace has, and those that every one can have. @param {Editing} editing */
function valueList({ ctx: { t }, filter, draft, values, label, update }) {
  const all = [...new Set([...draft.values, ...draft.offered, ...values, ...(filter.known ?? [])])].slice(0, 200);
  if (all.length === 0) return nothing;
  const toggle = (/** @type {string} */ value) => {
    if (!draft.offered.includes(value)) draft.offered.push(...all);
    draft.values = draft.values.includes(value) ? draft.values.filter((one) => one !== value) : [...draft.values, value];
    update();
  };
  // The order stays while boxes are checked.
  const order = draft.offered.length > 0 ? [...new Set([...draft.offered, ...all])] : all;
  return html`<div class="filters-values" role="group" aria-label=${t("filters.values")}>${order.map((value) => html`
    <label class="check"><input type="checkbox" .checked=${live(draft.values.includes(value))} @change=${() => toggle(value)}>
      <span class="filters-value">${label(value)}</span></label>`)}</div>`;
}

/** @param {Editing} editing @param {Event} event */
function addValue({ draft, update }, event) {
  const field = /** @type {Element} */ (event.currentTarget).parentElement?.querySelector("input");
  const value = field?.value.trim() ?? "";
  if (!field || value === "") return;
  if (!draft.values.includes(value)) draft.values = [...draft.values, value];
  if (!draft.offered.includes(value)) draft.offered.push(value);
  field.value = "";
  field.focus();
  update();
}

/** @param {Editing} editing @returns {Template} */
function flagInput({ ctx: { t, state }, filter }) {
  const [name = ""] = filter.params;
  return html`<select class="input" name="text" aria-label=${t(`filters.${filter.id}`)} data-autofocus>
    ${filter.known?.map((value) => html`<option value=${value} ?selected=${value === state.params.get(name)}>${t(`filters.${filter.id}.${value}`)}</option>`)}
  </select>`;
}

/** @param {Editing} editing @returns {Template} */
function numberInputs({ ctx: { t, state }, filter }) {
  const [min, max] = filter.params.map((name) => state.params.get(name) ?? "");
  return html`<div class="filters-pair">
    <label class="field">${t("filters.min")}<input class="input" name="min" inputmode="decimal" autocomplete="off" .value=${min ?? ""} data-autofocus></label>
    <label class="field">${t("filters.max")}<input class="input" name="max" inputmode="decimal" autocomplete="off" .value=${max ?? ""}></label>
  </div><p class="muted">${t(`filters.${filter.id}.help`)}</p>`;
}

/** @param {Editing} editing @returns {Template} */
function timeInputs({ ctx, filter, apply }) {
  const { t, state, format: { timeZone } } = ctx;
  const [after, before] = filter.params.slice(-2).map((name) => localValue(state.params.get(name), timeZone));
  const range = state.params.get("range");
  return html`
    ${filter.id !== "started" ? nothing : html`<div class="filters-presets" role="group" aria-label=${t("filters.presets")}>${PRESETS.map((preset) => html`
      <button class="button" type="button" aria-pressed=${preset === range ? "true" : "false"}
        @click=${() => apply(presetChanges(ctx, preset))}>${t(`filters.preset.${preset}`)}</button>`)}</div>`}
    <label class="field">${t("filters.after")}<input class="input" type="datetime-local" name="after" .value=${after ?? ""} data-autofocus></label>
    <label class="field">${t("filters.before")}<input class="input" type="datetime-local" name="before" .value=${before ?? ""}></label>
    <label class="field">${t("filters.zone")}<input class="input" name="zone" list="filters-zones" autocomplete="off" spellcheck="false" .value=${timeZone}></label>
    ${zoneList()}`;
}

/** @param {Ctx} ctx @param {string | null} preset null for any time @returns {Changes} */
export function presetChanges({ format }, preset) {
  return { range: preset, startedAfter: null, startedBefore: null, dateRange: null, timezone: preset === null ? null : format.timeZone };
}

/** The names of the zones, for a field with the list `filters-zones`. */
export function zoneList() {
  return html`<datalist id="filters-zones">${["UTC", ...Intl.supportedValuesOf("timeZone")].map((zone) => html`<option value=${zone}></option>`)}</datalist>`;
}

/** A time of the URL as a field has it. @param {string | undefined} text @param {string} zone */
function localValue(text, zone) {
  const time = moment(text, zone);
  if (time === null) return "";
  const { wall } = localParts(time, zone);
  return new Date(wall).toISOString().slice(0, 16);
}

/** @param {Editing} editing @returns {Template} */
function metadataInputs({ ctx: { t, state }, filter }) {
  const name = filter.params[0] ?? "";
  return html`
    <label class="field">${t("filters.metadata.name")}<input class="input" name="name" autocomplete="off" spellcheck="false"
      .value=${name.slice(METADATA.length)} placeholder="campaign" data-autofocus></label>
    <label class="field">${t("filters.metadata.value")}<input class="input" name="text" autocomplete="off" spellcheck="false" .value=${state.params.get(name) ?? ""}></label>
    <p class="muted">${t("filters.metadata.help")}</p>`;
}

/** @param {Editing} editing @returns {Template} */
function textInput({ ctx: { t, state }, filter }) {
  const value = state.params.get(filter.params[0] ?? "") ?? "";
  return html`<label class="field">${t(`filters.${filter.id}`)}
    <textarea class="input" name="text" rows="4" spellcheck="false" autocomplete="off" .value=${value} data-autofocus
      placeholder=${filter.kind === "json" ? '{"score":{"gte":7}}' : ""}></textarea></label>
    <p class="muted">${t(`filters.${filter.id}.help`)}</p>`;
}
