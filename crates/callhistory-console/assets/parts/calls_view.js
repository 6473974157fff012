// The menu of the look of the list: columns and their order, density, rows of a page, zone.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { isZone } from "../i18n.js";
import { writePreference } from "../preferences.js";
import { serialize, withParam } from "../url_state.js";
import { chosenColumns, columnLabel, columnOfMetadata, COLUMNS, defaultColumns, densityOf, keepColumns } from "./calls_columns.js";
import { limitOf, LIMITS } from "./calls_query.js";
import { zoneList } from "./filter_editor.js";
import { withChanges } from "./filters.js";

/** @typedef {import("./calls_columns.js").Column} Column */

/** @param {Ctx} ctx @returns {Template} */
export function viewMenu(ctx) {
  const { t, state, format } = ctx;
  const replace = (/** @type {State} */ next) => ctx.navigate(serialize(next), { replace: true });
  return html`<div class="calls-view">
    <fieldset><legend>${t("calls.density")}</legend><div class="calls-densities">${["comfortable", "compact"].map((density) => html`
      <button class="button" type="button" aria-pressed=${densityOf(state) === density ? "true" : "false"} @click=${() => {
        writePreference("density", density === "compact" ? JSON.stringify(density) : null);
        replace(withParam(state, "density", density === "compact" ? density : null));
        ctx.update();
      }}>${t(`calls.density.${density}`)}</button>`)}</div></fieldset>
    <label class="field">${t("calls.limit")}<select class="input" @change=${(/** @type {Event} */ event) =>
      replace(withChanges(state, { limit: /** @type {HTMLSelectElement} */ (event.currentTarget).value }))}>
      ${LIMITS.map((limit) => html`<option value=${limit} ?selected=${limit === limitOf(state)}>${limit}</option>`)}</select></label>
    <label class="field">${t("filters.zone")}<input class="input" list="filters-zones" autocomplete="off" spellcheck="false" .value=${live(format.timeZone)}
      @change=${(/** @type {Event} */ event) => {
        const input = /** @type {HTMLInputElement} */ (event.currentTarget);
        if (isZone(input.value.trim())) replace(withChanges(state, { timezone: input.value.trim() }));
        else ctx.announce(t("calls.zone.invalid"));
        ctx.update();
      }}></label>${zoneList()}
    ${columnList(ctx, replace)}
  </div>`;
}

/** @param {Ctx} ctx @param {(state: State) => void} replace */
function columnList(ctx, replace) {
  const { t, state } = ctx;
  const columns = chosenColumns(state);
  const set = (/** @type {Column[]} */ chosen) => {
    if (chosen.length === 0) return;
    replace(withParam(state, "columns", keepColumns(chosen)));
    ctx.update();
  };
  const others = COLUMNS.filter((column) => !columns.some((one) => one.id === column.id));
  return html`<fieldset class="calls-columns"><legend>${t("calls.columns")}</legend>
    <ul>${repeat([...columns, ...others], (column) => column.id, (column) => {
      const at = columns.findIndex((one) => one.id === column.id);
      const label = columnLabel(ctx, column);
      const move = (/** @type {number} */ by) => {
        const rest = columns.filter((one) => one.id !== column.id);
        set([...rest.slice(0, at + by), column, ...rest.slice(at + by)]);
      };
      return html`<li><label class="check"><input type="checkbox" .checked=${live(at >= 0)} ?disabled=${at >= 0 && columns.length === 1}
          @change=${() => set(at >= 0 ? columns.filter((one) => one.id !== column.id) : [...columns, column])}><span class="filters-value">${label}</span></label>
        ${at < 0 ? nothing : html`<span class="calls-move">
          <button type="button" ?disabled=${at === 0} aria-label=${t("calls.columns.left", { name: label })} @click=${() => move(-1)}>↑</button>
          <button type="button" ?disabled=${at === columns.length - 1} aria-label=${t("calls.columns.right", { name: label })} @click=${() => move(1)}>↓</button></span>`}</li>`;
    })}</ul>
    <form class="filters-add-value" @submit=${(/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      const input = /** @type {HTMLFormElement} */ (event.currentTarget).querySelector("input");
      const column = columnOfMetadata(input?.value.trim() ?? "");
      if (input) input.value = "";
      if (column !== null && !columns.some((one) => one.id === column.id)) set([...columns, column]);
    }}><input class="input" aria-label=${t("calls.columns.metadata")} placeholder=${t("calls.columns.metadata")} autocomplete="off" spellcheck="false">
      <button class="button" type="submit">${t("filters.add-value")}</button></form>
    <button class="facet-more" type="button" @click=${() => set(defaultColumns())}>${t("calls.columns.reset")}</button>
  </fieldset>`;
}
