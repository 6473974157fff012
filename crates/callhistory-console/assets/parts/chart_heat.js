// Calls by weekday and hour of the zone. A cell leads to its calls, or opens its dates, each of which does.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { listHash } from "./chart_data.js";

const LEVELS = 5;
const HOURS = Array.from({ length: 24 }, (_, hour) => hour);
/** From Monday, as the weeks of the service. 1 January 2024 was one. */
const WEEKDAYS = Array.from({ length: 7 }, (_, day) => Date.UTC(2024, 0, 1 + day));

/** @typedef {import("./chart_data.js").Group} Group */
/** @typedef {{ weekday: number, hour: number }} Cell */

/**
 * The hours of each cell: `cells[weekday * 24 + hour]`.
 * @param {Group[]} groups by hour
 * @returns {Group[][]}
 */
export function cellsOf(groups) {
  /** @type {Group[][]} */
  const cells = Array.from({ length: 168 }, () => []);
  for (const one of groups) {
    const key = one.key.get("hour");
    if (key === undefined) continue;
    const weekday = (new Date(`${key.slice(0, 10)}T00:00:00Z`).getUTCDay() + 6) % 7;
    cells[weekday * 24 + Number(key.slice(11, 13))]?.push(one);
  }
  return cells;
}

/**
 * The query of groups that are one range of time: at the end of summer time, clocks show an hour twice.
 * @param {Group[]} groups in their order
 * @returns {Map<string, string> | null} null if there is time between them
 */
function joined(groups) {
  const queries = groups.map((one) => new Map(new URLSearchParams(one.query)));
  const isOne = queries.every((query, at) => at === 0 || query.get("startedAfter") === queries[at - 1]?.get("startedBefore"));
  const [first, last] = [queries[0], queries.at(-1)];
  return isOne && first !== undefined && last !== undefined ? first.set("startedBefore", last.get("startedBefore") ?? "") : null;
}

/** @param {Group[]} groups */
const sum = (groups) => groups.reduce((total, one) => total + one.calls, 0);

/**
 * @param {Ctx} ctx
 * @param {Group[]} groups
 * @param {{ cell: Cell | null, open: (cell: Cell | null) => void }} view
 * @returns {Template}
 */
export function heatView(ctx, groups, view) {
  const { t, format } = ctx;
  const cells = cellsOf(groups);
  const largest = Math.max(...cells.map(sum), 1);
  const weekday = new Intl.DateTimeFormat(format.language, { weekday: "short", timeZone: "UTC" });
  const long = new Intl.DateTimeFormat(format.language, { weekday: "long", timeZone: "UTC" });
  return html`<div class="table-scroll" tabindex="0" role="region" aria-label=${t("charts.heat")}><table class="heat">
    <thead><tr><th scope="col"><span class="visually-hidden">${t("charts.weekday")}</span></th>${HOURS.map((hour) => html`<th scope="col"><abbr title=${t("charts.hour-of", { hour: `${hour}:00` })}>${hour}</abbr></th>`)}</tr></thead>
    <tbody>${WEEKDAYS.map((time, day) => html`<tr><th scope="row"><abbr title=${long.format(time)}>${weekday.format(time)}</abbr></th>${HOURS.map((hour) =>
      cell(ctx, cells[day * 24 + hour] ?? [], { weekday: day, hour }, largest, view, `${long.format(time)} ${hour}:00`))}</tr>`)}</tbody>
  </table></div>
  ${view.cell === null ? nothing : hoursOf(ctx, cells[view.cell.weekday * 24 + view.cell.hour] ?? [], view, `${long.format(WEEKDAYS[view.cell.weekday] ?? 0)} ${view.cell.hour}:00`)}`;
}

/**
 * @param {Ctx} ctx @param {Group[]} groups @param {Cell} cell @param {number} largest
 * @param {{ cell: Cell | null, open: (cell: Cell | null) => void }} view @param {string} name
 */
function cell(ctx, groups, { weekday, hour }, largest, view, name) {
  const calls = sum(groups);
  const level = calls === 0 ? 0 : Math.max(Math.ceil((calls / largest) * LEVELS), 1);
  const text = ctx.format.number(calls);
  const label = ctx.t("charts.heat-cell", { name, count: calls });
  const isOpen = view.cell?.weekday === weekday && view.cell.hour === hour;
  const query = joined(groups);
  const content = groups.length === 0 ? html`<span class="visually-hidden">0</span>`
    : query !== null ? html`<a href=${listHash(ctx, query)} aria-label=${label}>${text}</a>`
    : html`<button type="button" aria-label=${label} aria-expanded=${isOpen ? "true" : "false"} @click=${() => view.open(isOpen ? null : { weekday, hour })}>${text}</button>`;
  return html`<td class=${`heat-${level}`}>${content}</td>`;
}

/** @param {Ctx} ctx @param {Group[]} groups @param {{ open: (cell: Cell | null) => void }} view @param {string} name */
function hoursOf(ctx, groups, view, name) {
  const { t, format } = ctx;
  return html`<div class="heat-hours" role="group" aria-label=${name}><h3>${t("charts.heat-hours", { name, count: sum(groups) })}</h3>
    <ul>${groups.map((one) => html`<li><a href=${listHash(ctx, one.query)}>${format.date(one.key.get("hour") ?? "")}: ${t("charts.calls", { count: one.calls })}</a></li>`)}</ul>
    <button class="button" type="button" @click=${() => view.open(null)}>${t("charts.close")}</button></div>`;
}
