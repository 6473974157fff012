// Calls by the values of a member: a table whose rows have bars, and lead to their calls.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { exactMoney } from "./call_facts.js";
import { figureLinks } from "./chart_data.js";
import { permille } from "./decimal.js";

/** Rows that are shown at once. */
const STEP = 10;

/**
 * @param {Ctx} ctx
 * @param {import("./chart_data.js").Group[]} groups
 * @param {string} name the member
 * @param {{ shown: number, more: () => void, names: Map<string, string> }} view
 * @returns {Template}
 */
export function barsView(ctx, groups, name, view) {
  const { t, format } = ctx;
  if (groups.length === 0) return html`<p class="muted">${t("charts.nothing")}</p>`;
  const sorted = [...groups].sort((a, b) => b.calls - a.calls);
  const largest = sorted[0]?.calls ?? 1;
  return html`<div class="table-scroll" tabindex="0" role="region" aria-label=${t(`charts.by.${name}`)}><table class="bars">
    <thead><tr><th scope="col">${t(`call.${name}`)}</th><th scope="col" class="number">${t("charts.kpi.calls")}</th><th scope="col"><span class="visually-hidden">${t("charts.share")}</span></th>
      <th scope="col" class="number">${t("charts.kpi.completed")}</th><th scope="col" class="number">${t("charts.kpi.duration")}</th><th scope="col" class="number">${t("charts.kpi.cost")}</th></tr></thead>
    <tbody>${sorted.slice(0, view.shown).map((one) => row(ctx, one, name, largest, view.names))}</tbody>
  </table></div>
  ${sorted.length > view.shown ? html`<button class="link-button" type="button" @click=${view.more}>${t("call.show-more", { count: format.number(sorted.length - view.shown) })}</button>` : nothing}`;
}

/** @param {Ctx} ctx @param {import("./chart_data.js").Group} one @param {string} name @param {number} largest @param {Map<string, string>} names */
function row(ctx, one, name, largest, names) {
  const { t, format } = ctx;
  const value = one.key.get(name);
  const label = names.get(`${name} ${value}`);
  const links = figureLinks(ctx, one.query, one);
  const linked = (/** @type {string | null} */ href, /** @type {string} */ text) => (href === null ? text : html`<a href=${href}>${text}</a>`);
  const share = permille({ units: BigInt(one.completed), scale: 0 }, { units: BigInt(one.calls), scale: 0 });
  return html`<tr><th scope="row">${value === undefined ? html`<span class="muted">${t("charts.no-value")}</span>` : html`${label === undefined ? nothing : html`<bdi>${label}</bdi> `}<bdi class=${label === undefined ? "" : "muted"}>${value}</bdi>`}</th>
    <td class="number">${linked(links.calls, format.number(one.calls))}</td>
    <td class="bar-cell"><svg class="bar" aria-hidden="true" viewBox="0 0 1000 10" preserveAspectRatio="none"><rect width=${Math.max(Math.round((one.calls / largest) * 1000), 4)} height="10"></rect></svg></td>
    <td class="number">${share === null ? "–" : linked(links.completed, format.percent(share / 1000))}</td>
    <td class="number">${linked(links.duration, format.duration(one.duration))}</td>
    <td class="number">${one.costs.map(([currency, amount]) => html`<div class="bar-cost">${linked(links.cost(currency), exactMoney(ctx, amount, currency === "unknown" ? "" : currency))}</div>`)}</td></tr>`;
}

export { STEP };
