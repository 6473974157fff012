// What the list shows instead of rows: nothing yet, no match, an error. Each says what to do next.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ApiError, isAborted, urlOf } from "../api.js";
import { serialize, withPage } from "../url_state.js";
import { curlCommand, shellWord } from "./call_code.js";
import { filterOf } from "./calls_query.js";
import { copyButton } from "./call_copy.js";
import { filterName, summaryOf } from "./filter_bar.js";
import { activeFilters, withChanges, withoutFilters } from "./filters.js";
import { errorState } from "./states.js";

/** @typedef {import("./filters.js").Filter} Filter */

const MAX_COUNTED = 8;
const SKELETON_ROWS = 12;

/** @returns {Template} */
export function skeleton(/** @type {Ctx} */ { t }) {
  return html`<div class="calls-skeleton" role="status"><span class="visually-hidden">${t("state.loading")}</span>
    ${Array.from({ length: SKELETON_ROWS }, () => html`<div aria-hidden="true"></div>`)}</div>`;
}

/** A workspace without calls: how to write the first one. @param {Ctx} ctx @returns {Template} */
export function noCalls(ctx) {
  const { t, state } = ctx;
  const now = Math.floor(Date.now() / 1000);
  const call = `{"status": "completed", "startTime": ${now - 60}, "endTime": ${now}, "fromPhoneNumber": "+4930123456"}`;
  const curl = curlCommand(ctx, urlOf(""), ["-H 'content-type: application/json'", `-d ${shellWord(call)}`]);
  return html`<div class="state" data-state="empty"><h2>${t("calls.empty")}</h2><p>${t("calls.empty.text")}</p>
    <pre class="calls-curl" tabindex="0" aria-label="curl">${curl}</pre>
    <div class="state-actions">${copyButton(ctx, () => curl, "curl", t("calls.copy"))}
      <a class="button button-primary" href=${serialize({ ...withPage(state, "operate"), params: new Map() })}>${t("calls.empty.bring")}</a></div></div>`;
}

/** No call matches: which filter leaves how many out. */
export class NoMatch {
  constructor() {
    /** @type {Map<string, number>} */
    this.counts = new Map();
    this.key = "";
    /** @type {AbortController | null} */
    this.request = null;
  }

  /** @param {Ctx} ctx @param {string} key of the list */
  async load(ctx, key) {
    if (key === this.key) return;
    this.key = key;
    this.counts.clear();
    this.request?.abort();
    this.request = new AbortController();
    const signal = AbortSignal.any([this.request.signal, ctx.signal]);
    await Promise.all(candidates(ctx).slice(0, MAX_COUNTED).map(async ([id, state]) => {
      try {
        const { body } = await ctx.api.get("metrics", filterOf(state, ctx.format.timeZone), { signal });
        if (signal.aborted) return;
        this.counts.set(id, Number(body?.totalCalls) || 0);
        ctx.update();
      } catch (error) {
        if (!isAborted(error)) this.counts.delete(id);
      }
    }));
  }

  /** @param {Ctx} ctx @param {(filter: string, value: string) => string} label @returns {Template} */
  render(ctx, label) {
    const { t, state } = ctx;
    const filters = new Map(activeFilters(state.params).map((filter) => [filter.id, filter]));
    const items = candidates(ctx);
    return html`<div class="state" data-state="no-match"><h2>${t("calls.no-match")}</h2><p>${t("calls.no-match.text")}</p>
      <ul class="calls-candidates">${items.map(([id, without]) => {
        const filter = filters.get(id);
        const name = filter === undefined ? `${t("filters.search")}: ${state.params.get("q") ?? ""}` : `${filterName(ctx, filter)}: ${summaryOf(ctx, filter, (value) => label(id, value))}`;
        const count = this.counts.get(id);
        return html`<li><button class="button" type="button" @click=${() => ctx.navigate(serialize(without))}>
          <span class="calls-clip">${t("filters.remove-one", { name })}</span>
          ${count === undefined ? nothing : html`<span class="muted">${t("calls.count", { count })}</span>`}</button></li>`;
      })}</ul>
      <div class="state-actions"><button class="button button-primary" type="button"
        @click=${() => ctx.navigate(serialize(withChanges(withoutFilters(state, [...filters.values()]), { q: null, order: null })))}>${t("filters.clear")}</button></div></div>`;
  }
}

/** The states without one filter, or without the search. @param {Ctx} ctx @returns {Array<[string, State]>} */
function candidates({ state }) {
  /** @type {Array<[string, State]>} */
  const states = activeFilters(state.params).map((filter) => [filter.id, withoutFilters(state, [filter])]);
  if (state.params.has("q")) states.push(["search", withChanges(state, { q: null, order: null })]);
  return states;
}

/** @param {Ctx} ctx @param {unknown} error @param {() => void} retry @returns {Template} */
export function listError(ctx, error, retry) {
  const isCursor = error instanceof ApiError && (error.code === "cursor_expired" || error.code === "invalid_cursor" || error.errors.some((one) => one.parameter === "cursor"));
  if (!isCursor) return errorState(ctx, error, retry);
  const { t } = ctx;
  return html`<div class="state state-error" role="alert" data-state="cursor"><h2>${t("calls.cursor")}</h2><p>${t("calls.cursor.text")}</p>
    <div class="state-actions"><button class="button" type="button" @click=${() => ctx.navigate(serialize(withChanges(ctx.state, {})), { replace: true })}>${t("calls.first-page")}</button></div></div>`;
}
