// The list of calls: filters, facets, table, pages, selection, export, live follow. The URL has its whole state.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { serialize, withParam } from "../url_state.js";
import { chosenColumns, fieldsOf } from "../parts/calls_columns.js";
import { Follow } from "../parts/calls_follow.js";
import { CallsModel } from "../parts/calls_model.js";
import { limitOf, listKey, orderOf, pageNumberOf } from "../parts/calls_query.js";
import { listError, noCalls, NoMatch, skeleton } from "../parts/calls_states.js";
import { callsTable } from "../parts/calls_table.js";
import { viewMenu } from "../parts/calls_view.js";
import { Facets } from "../parts/facets.js";
import { FilterBar } from "../parts/filter_bar.js";
import { activeFilters, withChanges } from "../parts/filters.js";
import { focusLater, Popovers } from "../parts/popover.js";

/** Facets are counted again at most this often while the list is followed, in milliseconds. */
const FACETS_INTERVAL = 10_000;

class CallsPage {
  /** @type {Ctx | null} */
  ctx = null;
  model = new CallsModel();
  popovers = new Popovers(() => this.ctx?.update());
  facets = new Facets(() => this.ctx?.update());
  bar = new FilterBar(this.popovers, this.facets);
  noMatch = new NoMatch();
  follow = new Follow({ refresh: (deleted, signal) => this.refresh(deleted, signal), update: () => this.ctx?.update() });
  /** @type {import("../parts/calls_export.js").ExportDialog | null} */
  dialog = null;
  facetsLoaded = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  facetsTimer = undefined;
  /** Whose calls the page has: a workspace and a key. */
  owner = "";
  /** Where the list was when it was left. */
  scroll = { key: "", top: 0, pageTop: 0 };

  /** @param {Ctx} ctx */
  enter(ctx) {
    this.ctx = ctx;
    this.popovers.open = null;
    this.dialog = null;
    this.popovers.watch(ctx.signal);
    this.forgetOthers(ctx);
    const key = this.viewKey(ctx);
    // Coming back from a call: the rows are there at once, at the same place, and are loaded again behind.
    if (key !== this.scroll.key) [this.model.rows, this.model.isLoaded] = [[], false];
    else this.restore();
    void this.load();
    this.syncFollow(ctx);
  }

  /** Forgets what another workspace or key has shown. @param {Ctx} ctx */
  forgetOthers(ctx) {
    const owner = `${ctx.state.workspace} ${ctx.session.key}`;
    if (owner === this.owner) return;
    this.owner = owner;
    this.facets.forget();
    this.model.reset("");
    this.model.error = null;
    this.scroll.key = "";
  }

  /** @param {Ctx} ctx */
  viewKey(ctx) {
    return `${listKey(ctx.state, ctx.format.timeZone)} ${ctx.state.params.get("cursor") ?? ""} ${fieldsOf(chosenColumns(ctx.state))}`;
  }

  /** Goes back to the place where the list was left, once its rows are drawn. */
  restore() {
    this.model.drawn = this.model.rows.length;
    const { top, pageTop } = this.scroll;
    requestAnimationFrame(() => requestAnimationFrame(() => {
      document.querySelector(".calls-scroll")?.scrollTo(0, top);
      scrollTo(0, pageTop);
    }));
  }

  /** @param {Ctx} ctx */
  leave(ctx) {
    this.follow.stop();
    // The next page has not come, and is left as well.
    if (ctx.signal.aborted) return;
    this.scroll = { key: this.viewKey(ctx), top: document.querySelector(".calls-scroll")?.scrollTop ?? 0, pageTop: scrollY };
  }

  /** @param {Ctx} ctx @param {State} before */
  change(ctx, before) {
    const old = { ...ctx, state: before };
    const needsLoad = this.viewKey(old) !== this.viewKey(ctx) || limitOf(before) !== limitOf(ctx.state);
    this.bar.changed();
    if (needsLoad) {
      this.follow.created = 0;
      const isOtherPage = before.params.get("cursor") !== ctx.state.params.get("cursor");
      void this.load().then(() => {
        if (isOtherPage) this.pageShown(ctx);
      });
    }
    this.syncFollow(ctx);
  }

  /** @param {Ctx} ctx */
  syncFollow(ctx) {
    const isWanted = ctx.state.params.get("follow") === "1";
    if (!isWanted && this.follow.state !== "off") this.follow.stop();
    if (isWanted && this.follow.state === "off") void this.follow.start(ctx);
  }

  async load({ isFresh = false } = {}) {
    const { ctx } = this;
    if (ctx === null) return;
    await this.model.load(ctx);
    if (ctx.signal.aborted || this.model.isLoading) return;
    this.facets.learn(this.model.rows);
    this.facetsLoaded = performance.now();
    // The rows come first; their counts are computed behind them.
    if (this.model.error !== null) {
      this.facets.outdate();
    } else {
      void this.facets.load(ctx, { isFresh });
      if (this.isNoMatch(ctx)) void this.noMatch.load(ctx, this.viewKey(ctx));
      else this.noMatch.key = "";
    }
  }

  /** @param {Ctx} ctx */
  pageShown(ctx) {
    document.querySelector(".calls-scroll")?.scrollTo(0, 0);
    if (this.model.current >= 0) this.moveTo(0);
    ctx.announce(ctx.t("calls.page-loaded", { page: pageNumberOf(ctx.state), count: this.model.rows.length }));
  }

  /** Loads the first page again while the list is followed. @param {Set<string>} deleted @param {AbortSignal} signal */
  async refresh(deleted, signal) {
    const { ctx, model } = this;
    if (ctx === null || model.isLoading) return;
    const key = this.viewKey(ctx);
    try {
      const page = await model.fetch(ctx, ctx.state, AbortSignal.any([signal, ctx.signal]));
      // A page that another one has replaced meanwhile is discarded.
      if (signal.aborted || model.isLoading || key !== this.viewKey(ctx)) return;
      const before = model.waiting?.added ?? 0;
      const added = model.merge(ctx, page, { mayMove: this.mayMove(), deleted });
      this.facets.learn(page.rows);
      if (added > before || (added > 0 && model.waiting === null)) ctx.announce(ctx.t("calls.new", { count: added }));
      // The last change of a burst is counted as well.
      clearTimeout(this.facetsTimer);
      this.facetsTimer = setTimeout(() => {
        if (ctx.signal.aborted) return;
        this.facetsLoaded = performance.now();
        void this.facets.load(ctx, { isFresh: true });
      }, Math.max(0, this.facetsLoaded + FACETS_INTERVAL - performance.now()));
    } catch {
      // The next change tries again; the stream says if there is no server.
    }
    if (!ctx.signal.aborted) ctx.update();
  }

  /** Whether rows may move: nobody points at them, and the list is at its top. */
  mayMove() {
    const scroller = document.querySelector(".calls-scroll");
    if (scroller === null) return true;
    const table = scroller.querySelector("table");
    const isUsed = table !== null && (table.matches(":hover") || table.contains(document.activeElement));
    return !isUsed && scroller.scrollTop < 4 && scroller.getBoundingClientRect().bottom > 0 && this.popovers.open === null;
  }

  /** Shows the rows that wait. */
  showWaiting() {
    const { ctx, model } = this;
    if (ctx === null || model.waiting === null) return;
    model.merge(ctx, model.waiting, { mayMove: true, deleted: new Set() });
    document.querySelector(".calls-scroll")?.scrollTo(0, 0);
    ctx.update();
  }

  /** The pointer or the focus has left the table: rows that wait come in, if the list is at its top. */
  left() {
    requestAnimationFrame(() => {
      if (this.model.waiting !== null && this.ctx !== null && !this.ctx.signal.aborted && this.mayMove()) this.showWaiting();
    });
  }

  /** @param {Ctx} ctx */
  isNoMatch({ state }) {
    return this.model.rows.length === 0 && (activeFilters(state.params).length > 0 || state.params.has("q"));
  }

  /** @param {Ctx} ctx @returns {Template} */
  render(ctx) {
    return html`<div class="calls ${this.facets.isOpen ? "" : "calls-without-facets"}">
      ${this.top(ctx)}
      ${this.bar.render(ctx, this.model.error)}
      <div class="calls-body">
        ${this.facets.render(ctx)}
        <div class="calls-main">${this.news(ctx)}${this.content(ctx)}
          <div class="calls-foot">${this.tools(ctx)}${this.pager(ctx)}</div></div>
      </div>
      ${this.dialog?.render(ctx) ?? nothing}
    </div>`;
  }

  /** @param {Ctx} ctx */
  top(ctx) {
    const { t } = ctx;
    const total = this.facets.total;
    return html`<div class="calls-top"><h1>${t("shell.calls")}</h1>
      <span class="muted calls-total">${total === null ? nothing : t("calls.count", { count: total })}</span>
      <span class="calls-busy muted" role="status">${this.model.isSlow && this.model.rows.length > 0 ? t("state.loading") : nothing}</span>
      <div class="calls-actions">
        ${this.followButton(ctx)}
        <button class="button" type="button" aria-expanded=${this.facets.isOpen ? "true" : "false"} aria-controls="calls-facets" @click=${() => this.facets.toggle(ctx)}>${t("calls.facets.toggle")}</button>
        ${this.popovers.render("view", { label: t("calls.view"), panelTitle: t("calls.view") }, () => viewMenu(ctx))}
        <button class="button button-primary" type="button" @click=${() => void this.openExport()}>${t("calls.export")}</button>
      </div></div>`;
  }

  /** @param {Ctx} ctx */
  followButton(ctx) {
    const { t, state } = ctx;
    const { follow } = this;
    const isOn = state.params.get("follow") === "1";
    const toggle = () => ctx.navigate(serialize(withParam(state, "follow", isOn ? null : "1")), { replace: true });
    const pause = () => {
      if (follow.state === "paused" || follow.state === "failed") void follow.start(ctx);
      else follow.stop("paused");
    };
    const isPaused = follow.state === "paused" || follow.state === "failed";
    return html`${isOn ? html`<span class="chip ${follow.state === "live" ? "chip-ok" : follow.state === "failed" ? "chip-error" : "chip-warn"}" data-follow=${follow.state}>${t(`calls.follow.${follow.state}`)}</span>
        <button class="button" type="button" @click=${pause}>${t(isPaused ? "calls.follow.resume" : "calls.follow.pause")}</button>` : nothing}
      <button class="button" type="button" aria-pressed=${isOn ? "true" : "false"} @click=${toggle}>${t("calls.follow")}</button>`;
  }

  /** @param {Ctx} ctx */
  tools(ctx) {
    const { t } = ctx;
    const count = this.model.selected.size;
    if (count === 0) return nothing;
    return html`<div class="calls-selection" role="status"><span>${t("calls.selected", { count })}</span>
      <button class="button" type="button" @click=${() => void this.openExport()}>${t("calls.export.selected")}</button>
      <button class="button button-quiet" type="button" @click=${() => this.clearSelection()}>${t("calls.deselect")}</button></div>`;
  }

  /** @param {Ctx} ctx */
  news(ctx) {
    const { t, state } = ctx;
    // Rows of a later page do not move; what is new is on the first one.
    if (this.follow.created > 0 && state.params.has("cursor")) {
      return html`<button class="calls-news" type="button" @click=${() => ctx.navigate(serialize(withChanges(state, {})))}>${t("calls.new.elsewhere")}</button>`;
    }
    const added = this.model.waiting?.added ?? 0;
    if (added === 0) return nothing;
    const isMore = added === this.model.waiting?.rows.length;
    return html`<button class="calls-news" type="button" @click=${() => this.showWaiting()}>${t(isMore ? "calls.new.many" : "calls.new", { count: added })}</button>`;
  }

  /** @param {Ctx} ctx */
  content(ctx) {
    const { model } = this;
    if (model.error !== null) return listError(ctx, model.error, () => void this.load());
    // What is empty may be so under the filter before.
    if (!model.isLoaded || (model.rows.length === 0 && model.isLoading)) return model.isSlow ? skeleton(ctx) : html`<div class="calls-pending"></div>`;
    if (model.rows.length > 0) return callsTable(ctx, this.table(ctx));
    if (this.isNoMatch(ctx)) return this.noMatch.render(ctx, (filter, value) => this.facets.label(ctx.t, filter, value));
    return noCalls(ctx);
  }

  /** @param {Ctx} ctx */
  table(ctx) {
    const { model } = this;
    return {
      model,
      columns: chosenColumns(ctx.state),
      isSortable: !ctx.state.params.has("q") || model.isSearchMissing,
      select: (/** @type {number} */ index, /** @type {boolean} */ isSelected, /** @type {boolean} */ isRange) => {
        if (!model.selectRow(index, isSelected, isRange)) ctx.announce(ctx.t("calls.selection-full"));
        ctx.update();
      },
      selectAll: (/** @type {boolean} */ isSelected) => {
        const isComplete = model.rows.every((row) => model.select(row.id, isSelected));
        if (!isComplete) ctx.announce(ctx.t("calls.selection-full"));
        ctx.update();
      },
      left: () => this.left(),
    };
  }

  /** @param {Ctx} ctx */
  pager(ctx) {
    const { t } = ctx;
    const { model } = this;
    const page = pageNumberOf(ctx.state);
    if (ctx.state.params.has("q") && !model.isSearchMissing && orderOf(ctx.state) === "relevance" && model.rows.length >= Math.min(limitOf(ctx.state), 100)) {
      return html`<p class="muted">${t("calls.best", { count: model.rows.length })}</p>`;
    }
    if (!model.isLoaded || model.error !== null || (page === 1 && model.next === null)) return nothing;
    const hasPrevious = ctx.state.params.has("cursor");
    const isKnown = model.memory.cursor(model.key, page - 1) !== undefined;
    return html`<nav class="calls-pager" aria-label=${t("calls.pages")}>
      <button class="button" type="button" ?disabled=${!hasPrevious} @click=${() => this.previousPage(ctx)}>${t(hasPrevious && !isKnown ? "calls.first-page" : "calls.previous")}</button>
      <span class="muted">${t("calls.page", { page })}</span>
      <button class="button" type="button" ?disabled=${model.next === null} @click=${() => this.nextPage(ctx)}>${t("calls.next")}</button>
    </nav>`;
  }

  /** @param {Ctx} ctx */
  nextPage(ctx) {
    const { next, isLoading } = this.model;
    if (next === null || isLoading) return;
    ctx.navigate(serialize(withChanges(ctx.state, { cursor: next, pageNumber: String(pageNumberOf(ctx.state) + 1) })));
  }

  /** @param {Ctx} ctx */
  previousPage(ctx) {
    if (!ctx.state.params.has("cursor") || this.model.isLoading) return;
    const page = pageNumberOf(ctx.state) - 1;
    const cursor = this.model.memory.cursor(this.model.key, page);
    const changes = typeof cursor === "string" ? { cursor, pageNumber: String(page) } : {};
    ctx.navigate(serialize(withChanges(ctx.state, changes)));
  }

  async openExport() {
    const { ExportDialog } = await import("../parts/calls_export.js");
    this.dialog = new ExportDialog(this.model, () => {
      this.dialog = null;
      this.ctx?.update();
    });
    this.ctx?.update();
  }

  clearSelection() {
    const had = this.model.selected.size > 0;
    this.model.selected.clear();
    this.model.anchor = null;
    this.ctx?.update();
    return had;
  }

  /** @param {number} index */
  moveTo(index) {
    const { model } = this;
    if (model.rows.length === 0) return;
    model.current = Math.max(0, Math.min(index, model.rows.length - 1));
    const row = document.querySelectorAll(".calls-row")[model.current];
    row?.querySelector("a")?.focus({ preventScroll: true });
    row?.scrollIntoView({ block: "nearest" });
    this.ctx?.update();
  }

  /** @param {Ctx} ctx */
  toggleCurrent(ctx) {
    const row = this.model.rows[this.model.current];
    if (row !== undefined) this.table(ctx).select(this.model.current, !this.model.selected.has(row.id), false);
  }

  /** Closes or clears one thing at a time. */
  escape() {
    if (this.popovers.close(true) || this.clearSelection()) return;
    if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
    this.model.current = -1;
    this.left();
  }
}

const page = new CallsPage();

/** @type {Page} */
export default {
  title: ({ t }) => t("shell.calls"),
  enter: (ctx) => page.enter(ctx),
  leave: (ctx) => page.leave(ctx),
  change: (ctx, before) => page.change(ctx, before),
  render: (ctx) => page.render(ctx),
  keys: {
    "/": () => focusLater(() => document.getElementById("calls-search")),
    j: () => page.moveTo(page.model.current + 1),
    k: () => page.moveTo(page.model.current - 1),
    x: (ctx) => page.toggleCurrent(ctx),
    "[": (ctx) => page.previousPage(ctx),
    "]": (ctx) => page.nextPage(ctx),
    p: (ctx) => page.previousPage(ctx),
    n: (ctx) => page.nextPage(ctx),
    f: () => page.popovers.toggle("filter-menu"),
    Escape: () => page.escape(),
  },
  help: [
    ["/", "calls.help.search"], ["f", "calls.help.filter"], ["j", "calls.help.down"], ["k", "calls.help.up"], ["Enter", "calls.help.open"],
    ["x", "calls.help.select"], ["] n", "calls.help.next"], ["[ p", "calls.help.previous"], ["Esc", "calls.help.escape"],
  ],
};
