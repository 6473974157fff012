// The figures of a period, each compared with the period before.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { exactMoney } from "./call_facts.js";
import { figureLinks } from "./chart_data.js";
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

/** A figure, and the list of the calls that it counts. @typedef {{ value: string, href: string | null }} Figure */
/** @typedef {{ key: string, now: Figure, change: string | null, before: Figure | null }} Tile */
/** The figures of a period, and their lists. @typedef {{ figures: Figures, links: ReturnType<typeof figureLinks> }} Side */

/** @param {Figure} figure @param {string} [text] */
const linked = ({ value, href }, text = value) => (href === null ? text : html`<a href=${href}>${text}</a>`);

/** @param {Ctx} ctx @param {Tile} tile */
function tileView({ t }, { key, now, change: text, before }) {
  return html`<div class="card kpi"><dt>${t(`charts.kpi.${key}`)}</dt>
    <dd><span class="kpi-value">${linked(now)}</span>
      ${text === null ? nothing : html`<span class="kpi-change"><span>${text}</span>${
        before === null ? nothing : html` <span class="kpi-before muted">${linked(before, t("charts.before", { value: before.value }))}</span>`}</span>`}</dd></div>`;
}

/** @param {Ctx} ctx @param {Side} now @param {Side | null} before @returns {Tile[]} */
function costTiles(ctx, now, before) {
  return now.figures.costs.map(([currency, amount]) => {
    const money = (/** @type {string} */ text) => exactMoney(ctx, text, currency === "unknown" ? "" : currency);
    const tile = { key: "cost", now: { value: money(amount), href: now.links.cost(currency) }, change: null, before: null };
    if (before === null) return tile;
    const was = costBefore(before.figures, currency);
    if (was === null) return { ...tile, change: ctx.t("charts.no-comparison") };
    return { ...tile, change: changeText(ctx, was, amount), before: { value: money(was), href: before.links.cost(currency) } };
  });
}

/**
 * The cost in a currency; null if it is not known, because the costs of one of the periods all have the same currency, which has no name.
 * @param {Figures} before @param {string} currency
 */
function costBefore({ costs }, currency) {
  const found = costs.find(([name]) => name === currency);
  if (found !== undefined) return found[1];
  const areNamed = costs.every(([name, amount]) => name !== "" || decimal(amount)?.units === 0n);
  return currency !== "" && areNamed ? "0" : null;
}

/**
 * @param {Ctx} ctx
 * @param {Side} now
 * @param {Side | null} before null without a period before
 * @returns {Template}
 */
export function kpiView(ctx, now, before) {
  const { format, t } = ctx;
  const percent = (/** @type {number | null} */ part) => (part === null ? "–" : format.percent(part / 1000));
  const [share, shareBefore] = [completedShare(now.figures), before === null ? null : completedShare(before.figures)];
  /**
   * @param {"calls" | "answered" | "completed" | "duration" | "callers"} key
   * @param {(figures: Figures) => string} value
   * @param {(before: Figures) => string} compared
   * @returns {Tile}
   */
  const tile = (key, value, compared) => ({
    key, now: { value: value(now.figures), href: now.links[key] }, change: before === null ? null : compared(before.figures),
    before: before === null ? null : { value: value(before.figures), href: before.links[key] },
  });
  const counted = (/** @type {"calls" | "answered" | "callers"} */ key) =>
    tile(key, (figures) => format.number(figures[key] ?? 0), (was) => changeText(ctx, String(was[key] ?? 0), String(now.figures[key] ?? 0)));
  const tiles = [
    counted("calls"),
    counted("answered"),
    tile("completed", (figures) => percent(completedShare(figures)), () => pointsText(ctx, shareBefore, share)),
    tile("duration", ({ duration }) => format.duration(duration), (was) => changeText(ctx, was.duration, now.figures.duration)),
    ...costTiles(ctx, now, before),
    ...(now.figures.callers === null ? [] : [counted("callers")]),
  ];
  if (before?.figures.calls === 0) for (const one of tiles) [one.change, one.before] = [t("charts.none-before"), null];
  return html`<section class="charts-kpis" aria-label=${t("charts.kpis")}><dl class="kpis">${tiles.map((one) => tileView(ctx, one))}</dl></section>`;
}
