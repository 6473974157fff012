// What the calls of a period came to. Every number is a link to the calls that it counts.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ApiError, isAborted } from "../api.js";
import { serialize, withPage, withParam } from "../url_state.js";
import { boundedPeriod, bucketsOf, byOutcome, chartParams, figureLinks, intervalOf, INTERVALS, metrics, namesOf, wholeList } from "../parts/chart_data.js";
import { barsView, STEP } from "../parts/chart_bars.js";
import { ChartFilters } from "../parts/chart_filters.js";
import { heatView } from "../parts/chart_heat.js";
import { kpiView } from "../parts/chart_kpis.js";
import { TABLE_STEP, timeData, timeView } from "../parts/chart_time.js";
import { Facets } from "../parts/facets.js";
import { apiTime, filtersOf, periodBefore, withPeriod } from "../parts/period.js";
import { Popovers } from "../parts/popover.js";
import { emptyState, errorState, loadingState } from "../parts/states.js";

/** @typedef {import("../parts/chart_data.js").Group} Group */
/** @typedef {import("../parts/chart_data.js").Figures} Figures */
/** @typedef {{ data: any, failure: unknown }} Part What a panel shows: the last data, and why there is no newer one. */

/** Members with a bar table. */
const MEMBERS = ["agentId", "callFlowId"];
/** An hour of each day of a longer period would be more groups than a response has. */
const MAX_HEAT_LENGTH = 400 * 86_400_000;

/** A visit of the page. */
class Visit {
  /** @param {Ctx} ctx */
  constructor(ctx) {
    this.ctx = ctx;
    /** @type {Map<string, Part>} */
    this.parts = new Map();
    /** @type {import("../parts/period.js").Period} */
    this.period = { after: null, before: null };
    this.filters = filtersOf(ctx.state.params);
    const popovers = new Popovers(() => ctx.update());
    popovers.watch(ctx.signal);
    this.facets = new Facets(() => ctx.update());
    this.bar = new ChartFilters(popovers, this.facets);
    this.loads = 0;
    this.isBusy = false;
    /** @type {unknown} */
    this.failure = null;
    /** @type {import("../parts/chart_heat.js").Cell | null} */
    this.cell = null;
    this.shown = new Map(MEMBERS.map((name) => [name, STEP]));
    /** @type {import("../parts/chart_time.js").TimeView} */
    this.time = {
      hovered: -1, isTable: false, shown: TABLE_STEP, update: () => ctx.update(),
      select: ({ after, before }) => select(this.ctx, after, before),
    };
  }

  /** Loads every panel; what arrives for an older state is left out. */
  async load() {
    const { ctx } = this;
    const load = (this.loads += 1);
    const now = Date.now();
    [this.isBusy, this.cell, this.time.hovered] = [true, null, -1];
    ctx.update();
    const filters = filtersOf(ctx.state.params);
    try {
      const period = await boundedPeriod(ctx, now);
      if (load !== this.loads) return;
      [this.period, this.filters, this.failure] = [period, filters, null];
      await Promise.all(this.requests(period, filters, now).map(([name, request]) => this.fill(load, name, request)));
    } catch (error) {
      if (isAborted(error) || load !== this.loads) return;
      this.failure = error;
    }
    if (load !== this.loads) return;
    this.isBusy = false;
    // The values that the filters offer come behind the figures.
    void this.facets.load(ctx);
    ctx.update();
    const total = this.parts.get("total")?.data?.total;
    if (total !== undefined && this.failure === null) ctx.announce(ctx.t("charts.calls", { count: total.calls }));
  }

  /**
   * @param {import("../parts/period.js").Period} period @param {Map<string, string>} filters @param {number} now
   * @returns {Array<[string, Promise<any>]>}
   */
  requests(period, filters, now) {
    const { ctx } = this;
    const zone = ctx.format.timeZone;
    const length = (period.before ?? now) - (period.after ?? now);
    const interval = intervalOf(length, ctx.state.params.get("interval") ?? "");
    const before = ctx.state.params.get("compare") === "0" ? null : periodBefore(period, zone, now);
    const time = byOutcome(ctx, filters, period, { groupBy: interval, timezone: zone });
    const buckets = bucketsOf(period.after ?? now, period.before ?? now, interval, zone);
    return [
      ["names", namesOf(ctx, filters, period)],
      ["total", byOutcome(ctx, filters, period)],
      ["before", before === null ? Promise.resolve(null) : metrics(ctx, filters, before).then(({ total }) => ({ total, period: before }))],
      ["time", time.then(({ groups }) => timeData(ctx, groups, buckets, interval))],
      ...MEMBERS.map((name) => /** @type {[string, Promise<any>]} */ ([name, metrics(ctx, filters, period, { groupBy: name }).then(({ groups }) => groups)])),
      ["heat", length > MAX_HEAT_LENGTH ? Promise.resolve(null) : metrics(ctx, filters, period, { groupBy: "hour", timezone: zone }).then(({ groups }) => groups)],
    ];
  }

  /** @param {number} load @param {string} name @param {Promise<any>} request */
  async fill(load, name, request) {
    /** @type {Part} */
    let part;
    try {
      part = { data: await request, failure: null };
    } catch (error) {
      if (isAborted(error)) return;
      part = { data: null, failure: error };
    }
    if (load !== this.loads) return;
    this.parts.set(name, part);
    this.ctx.update();
  }
}

/** @type {Visit | null} */
let visit = null;

/** @param {Ctx} ctx @param {number} after @param {number} before */
function select(ctx, after, before) {
  const params = new Map(ctx.state.params);
  for (const name of ["range", "dateRange", "interval"]) params.delete(name);
  params.set("startedAfter", apiTime(after)).set("startedBefore", apiTime(before));
  ctx.navigate(serialize({ ...ctx.state, params }));
}

/** @param {Ctx} ctx */
function reload(ctx) {
  if (visit === null || visit.ctx !== ctx) visit = new Visit(ctx);
  visit.bar.changed();
  void visit.load();
}

/** @param {Ctx} ctx @param {Visit} now */
function periodBar(ctx, now) {
  const { t, format, state } = ctx;
  const { after, before } = now.period;
  return html`<div class="charts-period">
    ${after === null || before === null ? nothing : html`<span class="charts-range"><time datetime=${apiTime(after)}>${format.dateTime(after / 1000)}</time> – <time datetime=${apiTime(before)}>${format.dateTime(before / 1000)}</time> <span class="muted">${format.timeZone}</span></span>`}
    <label class="charts-interval">${t("charts.interval")} <select class="input" .value=${state.params.get("interval") ?? ""}
      @change=${(/** @type {Event} */ event) => ctx.navigate(serialize(withParam(state, "interval", /** @type {HTMLSelectElement} */ (event.currentTarget).value)))}>
      <option value="">${t("charts.interval.auto")}</option>${INTERVALS.map((interval) => html`<option value=${interval} ?selected=${state.params.get("interval") === interval}>${t(`charts.interval.${interval}`)}</option>`)}</select></label>
  </div>`;
}

/**
 * A panel: its data, or why there is none.
 * @param {Ctx} ctx @param {Visit} now @param {string} name @param {string} title @param {(data: any) => unknown} content
 */
function panel(ctx, now, name, title, content) {
  const part = now.parts.get(name);
  return html`<section class="card chart-panel" aria-busy=${part === undefined ? "true" : "false"}><h2>${title}</h2>
    ${part === undefined ? html`<p class="muted">${ctx.t("state.loading")}</p>`
      : part.failure !== null ? errorState(ctx, part.failure, () => reload(ctx)) : content(part.data)}</section>`;
}

/** @param {Ctx} ctx @param {Visit} now */
function kpis(ctx, now) {
  const [total, before] = [now.parts.get("total"), now.parts.get("before")];
  if (total === undefined) return html`<p class="muted">${ctx.t("state.loading")}</p>`;
  if (total.failure !== null) return errorState(ctx, total.failure, () => reload(ctx));
  const side = (/** @type {Figures} */ figures, /** @type {import("../parts/period.js").Period} */ period) =>
    ({ figures, links: figureLinks(ctx, withPeriod(now.filters, period), figures) });
  return kpiView(ctx, side(total.data.total, now.period), before?.data ? side(before.data.total, before.data.period) : null);
}

/** @param {Ctx} ctx @param {Visit} now */
function panels(ctx, now) {
  const { t } = ctx;
  const update = () => ctx.update();
  const totals = /** @type {Group[]} */ (now.parts.get("total")?.data?.groups ?? []);
  return html`
    ${panel(ctx, now, "time", t("charts.over-time"), (data) => timeView(ctx, data, totals, now.filters, now.period, now.time))}
    <div class="charts-pair">${MEMBERS.map((name) => panel(ctx, now, name, t(`charts.by.${name}`), (groups) =>
      barsView(ctx, groups, name, { names: now.parts.get("names")?.data ?? new Map(), shown: now.shown.get(name) ?? STEP, more: () => { now.shown.set(name, (now.shown.get(name) ?? STEP) * 10); update(); } })))}</div>
    ${panel(ctx, now, "heat", t("charts.heat"), (groups) => (groups === null ? html`<p class="muted">${t("charts.heat-too-long")}</p>`
      : heatView(ctx, groups, { cell: now.cell, open: (cell) => { now.cell = cell; update(); } })))}`;
}

/** @param {Ctx} ctx @param {Visit} now */
function content(ctx, now) {
  const { t } = ctx;
  if (now.failure !== null) return errorState(ctx, now.failure, () => reload(ctx));
  const total = now.parts.get("total");
  if (total === undefined && now.isBusy) return loadingState(ctx);
  if (total?.failure instanceof ApiError && [401, 403].includes(total.failure.status)) return errorState(ctx, total.failure, () => reload(ctx));
  if (total?.data?.total.calls === 0) {
    return emptyState(t("charts.empty"), t("charts.empty.text"), html`
      <a class="button" href=${serialize({ ...ctx.state, params: new Map([...ctx.state.params].filter(([name]) => !["startedAfter", "startedBefore", "dateRange", "interval"].includes(name)).concat([["range", "all"]])) })}>${t("charts.range.all")}</a>
      <a class="button" href=${wholeList(ctx, now.filters, now.period)}>${t("call.to-list")}</a>`);
  }
  return html`${kpis(ctx, now)}${panels(ctx, now)}`;
}

/** @type {Page} */
export default {
  title: ({ t }) => t("charts.title"),
  enter: reload,
  change: reload,
  leave() {
    visit = null;
  },
  render(ctx) {
    if (visit === null) return nothing;
    return html`<div class="charts" aria-busy=${visit.isBusy ? "true" : "false"}>
      <div class="charts-head"><h1>${ctx.t("charts.title")}</h1><a href=${serialize(withPage({ ...ctx.state, params: chartParams(ctx.state) }, "calls"))}>${ctx.t("charts.to-list")}</a></div>
      ${visit.bar.render(ctx, visit.parts.get("total")?.failure ?? visit.failure)}${periodBar(ctx, visit)}${content(ctx, visit)}</div>`;
  },
  keys: { r: reload, "/": () => document.getElementById("calls-search")?.focus(), Escape: () => visit?.bar.popovers.close(true) },
  help: [["/", "filters.search"], ["r", "call.refresh"], ["← →", "charts.help-bars"], ["Enter", "charts.help-enter"]],
};
