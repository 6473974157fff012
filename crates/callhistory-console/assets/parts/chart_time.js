// Calls over time, stacked by outcome: the drawing, its legend, its dates, and the same as a table.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { keyStart, listHash, outcomeKey } from "./chart_data.js";
import { OUTCOMES } from "./outcome.js";
import { addDays, apiTime, localDate, localTime } from "./period.js";
import "./outcome_chart.js";

/** @typedef {import("./chart_data.js").Group} Group */
/** @typedef {import("./chart_data.js").Bucket} Bucket */
/**
 * @typedef {object} TimeData
 * @property {Bucket[]} buckets
 * @property {import("./chart_data.js").Interval} interval
 * @property {string[]} outcomes that occur, from the bottom to the top
 * @property {Map<string, Group>[]} cells of each bucket, by outcome
 * @property {{ labels: string[], series: Array<{ outcome: string, values: number[] }> }} chart
 */

/** Buckets of the table that are shown at once. */
const STEP = 60;

/** @param {Ctx} ctx @param {import("./chart_data.js").Interval} interval @returns {(time: number) => string} */
export function bucketName({ format }, interval) {
  /** @type {Record<string, Intl.DateTimeFormatOptions>} */
  const forms = {
    hour: { month: "short", day: "numeric", hour: "numeric", minute: "2-digit" },
    day: { weekday: "short", month: "short", day: "numeric" },
    week: { month: "short", day: "numeric", year: "numeric" },
    month: { month: "short", year: "numeric" },
  };
  const name = new Intl.DateTimeFormat(format.language, { timeZone: format.timeZone, ...forms[interval] });
  return (time) => name.format(time);
}

/**
 * @param {Ctx} ctx
 * @param {Group[]} groups by interval and outcome
 * @param {Bucket[]} buckets
 * @param {import("./chart_data.js").Interval} interval
 * @returns {TimeData}
 */
export function timeData(ctx, groups, buckets, interval) {
  const at = new Map(buckets.map(({ start }, index) => [start, index]));
  /** @type {Map<string, Group>[]} */
  const cells = buckets.map(() => new Map());
  for (const one of groups) {
    const index = at.get(keyStart(one.key.get(interval) ?? "", ctx.format.timeZone));
    if (index !== undefined) cells[index]?.set(outcomeKey(one), one);
  }
  const outcomes = OUTCOMES.filter((outcome) => groups.some((one) => outcomeKey(one) === outcome));
  const name = bucketName(ctx, interval);
  const series = outcomes.map((outcome) => ({ outcome, values: cells.map((cell) => cell.get(outcome)?.calls ?? 0) }));
  return { buckets, interval, outcomes, cells, chart: { labels: buckets.map(({ start }) => name(start)), series } };
}

/** @param {Map<string, Group>} cell */
const sum = (cell) => [...cell.values()].reduce((total, one) => total + one.calls, 0);

/**
 * @typedef {object} TimeView
 * @property {number} hovered the bar under the pointer or the keyboard; -1 for none
 * @property {boolean} isTable
 * @property {number} shown rows of the table
 * @property {() => void} update
 * @property {(period: { after: number, before: number }) => void} select
 */

/** The filters of the page and a bucket. @param {Ctx} ctx @param {Map<string, string>} filters @param {Bucket} bucket */
const bucketHash = (ctx, filters, { start, end }) => listHash(ctx, new Map([...filters, ["startedAfter", apiTime(start)], ["startedBefore", apiTime(end)]]));

/** @param {Ctx} ctx @param {TimeData} data @param {Group[]} totals by outcome */
function legend(ctx, data, totals) {
  return html`<ul class="legend">${data.outcomes.map((outcome) => {
    const total = totals.find((one) => outcomeKey(one) === outcome);
    return html`<li><span class=${`chart-swatch chart-color chart-color-${outcome}`} aria-hidden="true"></span>${ctx.t(`call.outcome.${outcome}`)}
      ${total === undefined ? nothing : html`<a href=${listHash(ctx, total.query)}>${ctx.format.number(total.calls)}</a>`}</li>`;
  })}</ul>`;
}

/** What the bar under the pointer counts. @param {Ctx} ctx @param {TimeData} data @param {number} index */
function readout(ctx, data, index) {
  const cell = data.cells[index];
  if (cell === undefined) return ctx.t("charts.brush");
  const parts = data.outcomes.flatMap((outcome) => (cell.has(outcome) ? [`${ctx.t(`call.outcome.${outcome}`)} ${ctx.format.number(cell.get(outcome)?.calls ?? 0)}`] : []));
  return `${data.chart.labels[index]}: ${[ctx.t("charts.calls", { count: sum(cell) }), ...parts].join(" · ")}`;
}

/** Dates of the period, the keyboard's way to choose it. @param {Ctx} ctx @param {import("./period.js").Period} period @param {TimeView} view */
function dates(ctx, period, view) {
  const { t } = ctx;
  const zone = ctx.format.timeZone;
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    const [from, to] = [String(form.get("first") ?? ""), String(form.get("last") ?? "")].sort();
    if (!from || !to) return;
    view.select({ after: localTime(from, zone), before: localTime(addDays(to, 1), zone) });
  };
  const value = (/** @type {number | null} */ time) => (time === null ? "" : localDate(time, zone));
  return html`<form class="chart-dates" @submit=${submit}>
    <label>${t("charts.first")} <input class="input" type="date" name="first" required .value=${value(period.after)}></label>
    <label>${t("charts.last")} <input class="input" type="date" name="last" required .value=${value(period.before === null ? null : period.before - 1)}></label>
    <button class="button" type="submit">${t("charts.apply")}</button></form>`;
}

/** @param {Ctx} ctx @param {TimeData} data @param {Map<string, string>} filters @param {TimeView} view */
function table(ctx, data, filters, view) {
  const { t, format } = ctx;
  const rest = data.buckets.length - view.shown;
  return html`<div class="table-scroll" tabindex="0" role="region" aria-label=${t("charts.over-time")}><table class="bars time-table">
    <thead><tr><th scope="col">${t(`charts.interval.${data.interval}`)}</th><th scope="col" class="number">${t("charts.kpi.calls")}</th>
      ${data.outcomes.map((outcome) => html`<th scope="col" class="number">${t(`call.outcome.${outcome}`)}</th>`)}</tr></thead>
    <tbody>${data.buckets.slice(0, view.shown).map((bucket, index) => {
      const cell = data.cells[index] ?? new Map();
      return html`<tr><th scope="row">${data.chart.labels[index]}</th><td class="number"><a href=${bucketHash(ctx, filters, bucket)}>${format.number(sum(cell))}</a></td>
        ${data.outcomes.map((outcome) => {
          const one = cell.get(outcome);
          return html`<td class="number">${one === undefined ? "0" : html`<a href=${listHash(ctx, one.query)}>${format.number(one.calls)}</a>`}</td>`;
        })}</tr>`;
    })}</tbody></table></div>
    ${rest > 0 ? html`<button class="link-button" type="button" @click=${() => { view.shown += 10 * STEP; view.update(); }}>${t("call.show-more", { count: rest })}</button>` : nothing}`;
}

/**
 * @param {Ctx} ctx
 * @param {TimeData} data
 * @param {Group[]} totals by outcome
 * @param {Map<string, string>} filters
 * @param {import("./period.js").Period} period
 * @param {TimeView} view
 * @returns {Template}
 */
export function timeView(ctx, data, totals, filters, period, view) {
  const { t } = ctx;
  const bucket = (/** @type {number} */ index) => data.buckets[index] ?? { start: 0, end: 0 };
  // A bar at the edge of the period may begin before it: its calls are those of the period.
  const bounded = (/** @type {Bucket} */ { start, end }) => ({ start: Math.max(start, period.after ?? start), end: Math.min(end, period.before ?? end) });
  const range = (/** @type {any} */ event) => view.select({ after: bucket(event.detail.from).start, before: bucket(event.detail.to).end });
  const hover = (/** @type {any} */ event) => {
    if (event.detail.index === view.hovered && !event.detail.isKey) return;
    view.hovered = event.detail.index;
    if (event.detail.isKey) ctx.announce(selectionText(ctx, data, event.detail));
    view.update();
  };
  return html`${legend(ctx, data, totals)}
    <outcome-chart class="chart" tabindex="0" role="application" aria-label=${t("charts.chart-label")} aria-describedby="chart-help" .formatCount=${(/** @type {number} */ value) => ctx.format.number(value)}
      .data=${data.chart} @chart-range=${range} @chart-hover=${hover} @chart-open=${(/** @type {any} */ event) => ctx.navigate(bucketHash(ctx, filters, bounded(bucket(event.detail.index))))}></outcome-chart>
    <p class="chart-readout muted">${readout(ctx, data, view.hovered)}</p>
    <p class="visually-hidden" id="chart-help">${t("charts.chart-help")}</p>
    ${dates(ctx, period, view)}
    <details class="chart-table" .open=${view.isTable} @toggle=${(/** @type {Event} */ event) => {
      const { open } = /** @type {HTMLDetailsElement} */ (event.currentTarget);
      if (open !== view.isTable) { view.isTable = open; view.update(); }
    }}><summary>${t("charts.as-table")}</summary>${view.isTable ? boundedTable(ctx, data, filters, view, bounded) : nothing}</details>`;
}

/** @param {Ctx} ctx @param {TimeData} data @param {Map<string, string>} filters @param {TimeView} view @param {(bucket: Bucket) => Bucket} bounded */
const boundedTable = (ctx, data, filters, view, bounded) => table(ctx, { ...data, buckets: data.buckets.map(bounded) }, filters, view);

/** @param {Ctx} ctx @param {TimeData} data @param {{ index: number, from: number, to: number }} selection */
function selectionText(ctx, data, { index, from, to }) {
  if (from === to) return readout(ctx, data, index);
  const calls = data.cells.slice(from, to + 1).reduce((total, cell) => total + sum(cell), 0);
  return ctx.t("charts.selected", { from: data.chart.labels[from] ?? "", to: data.chart.labels[to] ?? "", count: calls });
}

export { STEP as TABLE_STEP };
