// The figures of a period, each compared with the period before.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { exactMoney } from "./call_facts.js";
import { wholeList } from "./chart_data.js";
import { change, decimal, permille } from "./decimal.js";

/** @typedef {import("./chart_data.js").Figures} Figures */

/** The change between two exact amounts. @param {Ctx} ctx @param {string} before @param {string} now */
function changeText({ t, format }, before, now) {
  const [from, to] = [decimal(before), decimal(now)];
  if (from === null || to === null) return t("charts.no-comparison");
  const part = change(from, to);
  if (part === null) return t(to.units === 0n ? "charts.same" : "charts.from-nothing");
  return part === 0 ? t("charts.same") : `${part > 0 ? "▲ +" : "▼ −"}${format.percent(Math.abs(part) / 1000)}`;
}

/** @param {Figures} figures @returns {number | null} tenths of a per cent */
const completedShare = ({ completed, calls }) => permille({ units: BigInt(completed), scale: 0 }, { units: BigInt(calls), scale: 0 });

/** @param {Ctx} ctx @param {number | null} before @param {number | null} now in tenths of a per cent */
function pointsText({ t, format }, before, now) {
  if (before === null || now === null) return t("charts.no-comparison");
  const points = now - before;
  const text = t("charts.points", { points: format.number(String(Math.abs(points) / 10)) });
  return points === 0 ? t("charts.same") : `${points > 0 ? "▲ +" : "▼ −"}${text}`;
}

/**
 * @param {Ctx} ctx
 * @param {{ key: string, value: string, href?: string, change: string | null, before: string | null }} tile
 */
function tile({ t }, { key, value, href, change: text, before }) {
  return html`<div class="card kpi"><dt>${t(`charts.kpi.${key}`)}</dt>
    <dd><span class="kpi-value">${href === undefined ? value : html`<a href=${href}>${value}</a>`}</span>
      ${text === null ? nothing : html`<span class="kpi-change"><span>${text}</span>${
        before === null ? nothing : html` <span class="muted">${t("charts.before", { value: before })}</span>`}</span>`}</dd></div>`;
}

/** @param {Ctx} ctx @param {Figures} now @param {Figures | null} before */
function costTiles(ctx, now, before) {
  return now.costs.map(([currency, amount]) => {
    const was = before?.costs.find(([other]) => other === currency)?.[1] ?? (before === null ? null : "0");
    const money = (/** @type {string} */ text) => exactMoney(ctx, text, currency === "unknown" ? "" : currency);
    return { key: "cost", value: money(amount), change: was === null ? null : changeText(ctx, was, amount), before: was === null ? null : money(was) };
  });
}

/**
 * @param {Ctx} ctx
 * @param {Figures} now
 * @param {Figures | null} before null without a period before
 * @param {import("./period.js").Period} period
 * @param {string | null} completedHref
 * @returns {Template}
 */
export function kpiView(ctx, now, before, period, completedHref) {
  const { format, t } = ctx;
  const list = wholeList(ctx, period);
  const counted = (/** @type {string} */ key, /** @type {number} */ value, /** @type {number | undefined} */ was, /** @type {string | undefined} */ href) => ({
    key, value: format.number(value), ...(href === undefined ? {} : { href }),
    change: was === undefined ? null : changeText(ctx, String(was), String(value)), before: was === undefined ? null : format.number(was),
  });
  const [share, shareBefore] = [completedShare(now), before === null ? null : completedShare(before)];
  const percent = (/** @type {number | null} */ part) => (part === null ? "–" : format.percent(part / 1000));
  const timed = ctx.state.params.has("minDuration") ? {} : { minDuration: "0" };
  const tiles = [
    counted("calls", now.calls, before?.calls, list),
    counted("answered", now.answered, before?.answered, undefined),
    { key: "completed", value: percent(share), ...(completedHref === null ? {} : { href: completedHref }), change: before === null ? null : pointsText(ctx, shareBefore, share), before: percent(shareBefore) },
    { key: "duration", value: format.duration(now.duration), href: wholeList(ctx, period, timed), change: before === null ? null : changeText(ctx, before.duration, now.duration), before: before === null ? null : format.duration(before.duration) },
    ...costTiles(ctx, now, before),
    ...(now.callers === null ? [] : [counted("callers", now.callers, before?.callers ?? undefined, undefined)]),
  ];
  if (before?.calls === 0) for (const one of tiles) [one.change, one.before] = [t("charts.none-before"), null];
  return html`<section class="charts-kpis" aria-label=${t("charts.kpis")}><dl class="kpis">${tiles.map((one) => tile(ctx, one))}</dl></section>`;
}
