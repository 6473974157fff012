// The table of the calls: real rows and headers, each row with one link to its call.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { serialize, withPage } from "../url_state.js";
import { columnLabel, densityOf } from "./calls_columns.js";
import { sortOf } from "./calls_query.js";
import { withChanges } from "./filters.js";

/** @typedef {import("./calls_columns.js").Column} Column */
/** @typedef {import("./calls_model.js").Row} Row */
/** @typedef {import("./calls_model.js").Evidence} Evidence */
/**
 * @typedef {object} Table
 * @property {import("./calls_model.js").CallsModel} model
 * @property {Column[]} columns
 * @property {boolean} isSortable whether the order is that of a column
 * @property {(index: number, isSelected: boolean, isRange: boolean) => void} select
 * @property {(isSelected: boolean) => void} selectAll
 * @property {() => void} left the pointer or the focus has left the table
 */

const MAX_EVIDENCE = 3;

/** @param {Ctx} ctx @param {Table} table @returns {Template} */
export function callsTable(ctx, table) {
  const { t } = ctx;
  const { model, columns } = table;
  const chosen = model.rows.filter((row) => model.selected.has(row.id)).length;
  const isAll = chosen > 0 && chosen === model.rows.length;
  const rows = model.drawnRows(ctx);
  const isBusy = model.isLoading || rows.length < model.rows.length;
  return html`
    <div class="calls-scroll" role="region" tabindex="0" aria-label=${t("calls.table")}>
      <table class="calls-table calls-${densityOf(ctx.state)}" aria-busy=${isBusy ? "true" : "false"}
        @click=${(/** @type {MouseEvent} */ event) => follow(event)} @pointerleave=${table.left} @focusout=${table.left}>
        <caption class="visually-hidden">${t("calls.caption", { zone: ctx.format.timeZone })}</caption>
        <thead><tr>
          <th class="calls-select" scope="col"><input type="checkbox" aria-label=${t("calls.select-all")}
            .checked=${live(isAll)} .indeterminate=${live(chosen > 0 && !isAll)}
            @change=${(/** @type {Event} */ event) => table.selectAll(/** @type {HTMLInputElement} */ (event.currentTarget).checked)}></th>
          ${columns.map((column) => header(ctx, column, table.isSortable))}
        </tr></thead>
        <tbody>${repeat(rows, (row) => row.id, (row, index) => rowView(ctx, table, row, index))}</tbody>
      </table>
    </div>`;
}

/** @param {Ctx} ctx @param {Column} column @param {boolean} isSortable */
function header(ctx, column, isSortable) {
  const label = columnLabel(ctx, column);
  const kind = columnClass(column);
  if (column.sort === undefined || !isSortable) return html`<th scope="col" class=${kind}>${label}</th>`;
  const sort = sortOf(ctx.state);
  const order = sort === column.sort ? "ascending" : sort === `-${column.sort}` ? "descending" : "none";
  // Descending, ascending, and back to the usual order.
  const next = order === "none" ? `-${column.sort}` : order === "descending" ? column.sort : null;
  const change = () => ctx.navigate(serialize(withChanges(ctx.state, { sort: next === "-startTime" ? null : next })));
  return html`<th scope="col" class=${kind} aria-sort=${order}>
    <button type="button" class="calls-sort" @click=${change}>${label}<span class="calls-arrow" aria-hidden="true">${order === "ascending" ? "▲" : order === "descending" ? "▼" : "↕"}</span></button>
  </th>`;
}

/** @param {Ctx} ctx @param {Table} table @param {Row} row @param {number} index */
function rowView(ctx, table, row, index) {
  const { t } = ctx;
  const { model, columns } = table;
  const [first, ...rest] = columns;
  const isSelected = model.selected.has(row.id);
  const href = serialize(withPage(ctx.state, "call", row.id));
  const select = (/** @type {MouseEvent} */ event) =>
    table.select(index, /** @type {HTMLInputElement} */ (event.currentTarget).checked, event.shiftKey);
  const content = first?.cell(ctx, row.call) ?? nothing;
  return html`<tr class="calls-row ${isSelected ? "calls-selected" : ""} ${index === model.current ? "calls-current" : ""} ${row.isDeleted ? "calls-deleted" : ""} ${row.evidence.length > 0 ? "calls-found" : ""}">
      <td class="calls-select"><input type="checkbox" .checked=${live(isSelected)} aria-label=${t("calls.select", { id: row.id })} @click=${select}></td>
      <th scope="row" class=${first?.isNumber ? "number" : ""} data-label=${first === undefined ? "" : columnLabel(ctx, first)}>
        <a class="calls-link" href=${href} @focus=${() => { model.current = index; }}>${content === nothing || content === "" ? html`<code>${row.id}</code>` : content}</a>
        ${row.isDeleted ? html`<span class="chip chip-error">${t("calls.deleted")}</span>` : nothing}</th>
      ${rest.map((column) => cellView(ctx, column, row))}
    </tr>
    ${row.evidence.length === 0 ? nothing : html`<tr class="calls-evidence"><td></td><td colspan=${Math.max(columns.length, 1)}>
      <ul>${row.evidence.slice(0, MAX_EVIDENCE).map((evidence) => html`<li>${evidenceView(ctx, row, evidence)}</li>`)}
        ${row.evidence.length > MAX_EVIDENCE ? html`<li class="muted">${t("calls.evidence.more", { count: row.evidence.length - MAX_EVIDENCE })}</li>` : nothing}</ul>
    </td></tr>`}`;
}

/** @param {Ctx} ctx @param {Column} column @param {Row} row */
function cellView(ctx, column, row) {
  const content = column.cell(ctx, row.call);
  const isEmpty = content === nothing || content === "";
  return html`<td class="${columnClass(column)}${isEmpty ? " calls-none" : ""}" data-label=${columnLabel(ctx, column)}><div class="calls-cell">${content}</div></td>`;
}

/** @param {Column} column */
const columnClass = (column) => `calls-col-${column.id.replace(/[^A-Za-z]/g, "-").slice(0, 40)}${column.isNumber ? " number" : ""}`;

/** Where a search was found; a turn of the transcript leads to its time. @param {Ctx} ctx @param {Row} row @param {Evidence} evidence */
function evidenceView(ctx, row, evidence) {
  const { t, format } = ctx;
  const state = withPage(ctx.state, "call", row.id);
  if (evidence.turn !== null) state.params.set("turn", String(evidence.turn));
  if (evidence.time !== null) state.params.set("at", String(evidence.time));
  const role = evidence.role === "" ? "" : ` · ${evidence.role}`;
  const time = evidence.time === null ? "" : ` · ${format.duration(evidence.time)}`;
  return html`<a href=${serialize(state)}><span class="calls-member">${memberName(t, evidence.member)}${role}${time}</span>
    <q>${marked(evidence.snippet, evidence.matches)}</q></a>`;
}

/** The member that a JSON pointer names, such as `/metadata/campaign`. @param {Translate} t @param {string} pointer */
function memberName(t, pointer) {
  const [name = "", ...path] = pointer.split("/").filter((part) => part !== "").map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  const keys = [`calls.member.${name}`, `calls.column.${name === "callFlowName" ? "callFlow" : name}`];
  const label = keys.map((key) => (t(key) === key ? name : t(key))).find((text) => text !== name) ?? name;
  const names = path.filter((part) => !/^\d+$/.test(part));
  return name === "transcript" || names.length === 0 ? label : `${label} · ${names.join(".")}`;
}

/**
 * A text with its matches marked. Ranges that are not in the text, or not in order, are left out.
 * @param {string} text
 * @param {Array<[number, number]>} matches in code points
 */
export function marked(text, matches) {
  const points = [...text];
  /** @type {unknown[]} */
  const parts = [];
  let at = 0;
  for (const [from, to] of matches) {
    if (!(from >= at && to > from && to <= points.length)) continue;
    parts.push(points.slice(at, from).join(""), html`<mark>${points.slice(from, to).join("")}</mark>`);
    at = to;
  }
  parts.push(points.slice(at).join(""));
  return parts;
}

/** A click anywhere in a row opens its call, unless it selects text or is for a control. @param {MouseEvent} event */
function follow(event) {
  if (!(event.target instanceof Element) || event.button !== 0 || event.defaultPrevented) return;
  if (event.target.closest("a, button, input, .calls-select, .calls-evidence") !== null || String(getSelection() ?? "") !== "") return;
  const link = event.target.closest("tr")?.querySelector(".calls-link");
  if (!(link instanceof HTMLAnchorElement)) return;
  if (event.ctrlKey || event.metaKey || event.shiftKey) open(link.href, "_blank", "noopener");
  else location.hash = link.hash;
}
