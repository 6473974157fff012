// The filters above the list: search, presets, a chip for each filter, and the menu that adds one.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";
import { ref } from "../vendor/lit-html/directives/ref.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { ApiError } from "../api.js";
import { serialize } from "../url_state.js";
import { activeFilters, addableFilters, FILTERS, METADATA, metadataFilter, parseIds, parseSet, PRESETS, withChanges, withoutFilters } from "./filters.js";
import { draftOf, filterEditor, presetChanges } from "./filter_editor.js";
import { moveInList } from "./popover.js";
import { moment } from "./period.js";
import { orderOf } from "./calls_query.js";

/** @typedef {import("./filters.js").Filter} Filter */
/** @typedef {import("./filter_editor.js").Changes} Changes */

const TYPING_PAUSE = 300;

export class FilterBar {
  /**
   * @param {import("./popover.js").Popovers} popovers
   * @param {import("./facets.js").Facets} facets whose values and names are offered
   */
  constructor(popovers, facets) {
    this.popovers = popovers;
    this.facets = facets;
    /** @type {{ name: string, draft: import("./filter_editor.js").Draft } | null} */
    this.editing = null;
    /** The filter that the menu adds. @type {Filter | null} */
    this.added = null;
    /** What is typed into the search and not yet in the URL. @type {string | null} */
    this.typed = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  /** @param {Ctx} ctx @param {Changes} changes @param {{ replace?: boolean }} [options] */
  apply(ctx, changes, options) {
    this.popovers.close(true);
    this.added = null;
    ctx.navigate(serialize(withChanges(ctx.state, changes)), options);
  }

  /** The state has changed: what was typed is in it, or is no more asked for. */
  changed() {
    clearTimeout(this.timer);
    this.typed = null;
  }

  /** @param {Ctx} ctx @param {unknown} error @returns {Template} */
  render(ctx, error) {
    const { t, state } = ctx;
    const active = activeFilters(state.params);
    const errors = errorsByFilter(error, active);
    if (this.popovers.open === null) this.editing = null;
    return html`<section class="filters" aria-label=${t("filters.title")}>
      <div class="filters-row">
        ${this.search(ctx, errors.get("search"))}
        <div class="filters-range" role="group" aria-label=${t("filters.presets")}>
          ${[null, ...PRESETS].map((preset) => this.preset(ctx, preset))}
        </div>
      </div>
      <div class="filters-row">
        <ul class="filters-chips">
          ${repeat(active, (filter) => filter.id, (filter) => this.chip(ctx, filter, errors.get(filter.id)))}
          <li>${this.menu(ctx)}</li>
          ${active.length > 1 ? html`<li><button class="button button-quiet" type="button"
            @click=${() => ctx.navigate(serialize(withoutFilters(ctx.state, active)))}>${t("filters.clear")}</button></li>` : nothing}
        </ul>
      </div>
    </section>`;
  }

  /** @param {Ctx} ctx @param {string | null} preset null for any time */
  preset(ctx, preset) {
    const { params } = ctx.state;
    const isAny = params.get("range") === "all" || !["range", "startedAfter", "startedBefore", "dateRange"].some((name) => params.has(name));
    const isOn = preset === null ? isAny : params.get("range") === preset;
    return html`<button type="button" aria-pressed=${isOn ? "true" : "false"} ${isOn ? ref(intoView) : nothing}
      @click=${() => this.apply(ctx, presetChanges(ctx, preset))}>${ctx.t(`filters.preset.${preset ?? "any"}`)}</button>`;
  }

  /** @param {Ctx} ctx @param {string | undefined} error */
  search(ctx, error) {
    const { t, state } = ctx;
    const value = this.typed ?? state.params.get("q") ?? "";
    const submit = (/** @type {Event} */ event) => {
      event.preventDefault();
      this.applySearch(ctx);
    };
    return html`<form class="filters-search" role="search" @submit=${submit}>
      <input id="calls-search" class="input" type="search" name="q" maxlength="256" autocomplete="off" spellcheck="false" enterkeyhint="search"
        @keydown=${leave} aria-label=${t("filters.search")} placeholder=${t("filters.search.placeholder")} .value=${live(value)}
        aria-invalid=${error === undefined ? "false" : "true"} aria-describedby=${error === undefined ? nothing : "filters-search-error"}
        @input=${(/** @type {Event} */ event) => this.type(ctx, /** @type {HTMLInputElement} */ (event.currentTarget).value)}>
      ${state.params.has("q") ? html`<select class="input" aria-label=${t("filters.order")}
        @change=${(/** @type {Event} */ event) => this.apply(ctx, { order: /** @type {HTMLSelectElement} */ (event.currentTarget).value === "time" ? "time" : null })}>
        ${["relevance", "time"].map((order) => html`<option value=${order} ?selected=${order === orderOf(state)}>${t(`filters.order.${order}`)}</option>`)}
      </select>` : nothing}
      ${error === undefined ? nothing : html`<p class="filters-error" id="filters-search-error">${error}</p>`}
    </form>`;
  }

  /** @param {Ctx} ctx @param {string} text */
  type(ctx, text) {
    this.typed = text;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (!ctx.signal.aborted) this.applySearch(ctx);
    }, TYPING_PAUSE);
  }

  /** One entry of the history for a search, however it was typed. @param {Ctx} ctx */
  applySearch(ctx) {
    clearTimeout(this.timer);
    const text = (this.typed ?? "").trim();
    const before = ctx.state.params.get("q") ?? "";
    if (this.typed === null || text === before) return;
    const changes = text === "" ? { q: null, order: null } : { q: text };
    ctx.navigate(serialize(withChanges(ctx.state, changes)), { replace: before !== "" && text !== "" });
  }

  /** @param {Ctx} ctx @param {Filter} filter @param {string | undefined} error */
  chip(ctx, filter, error) {
    const { t } = ctx;
    const name = filterName(ctx, filter);
    const errorId = `filters-error-${filter.id}`;
    return html`<li class="filters-chip ${error === undefined ? "" : "filters-chip-invalid"}" data-filter=${filter.id}>
      ${this.popovers.render(`filter:${filter.id}`, {
        label: html`<span class="filters-name">${name}</span> <span class="filters-summary">${summaryOf(ctx, filter, (value) => this.facets.label(t, filter.id, value))}</span>`,
        panelTitle: name, buttonClass: "filters-edit", describedBy: error === undefined ? "" : errorId,
      }, () => this.editor(ctx, filter))}
      <button class="filters-remove" type="button" aria-label=${t("filters.remove-one", { name })} title=${t("filters.remove-one", { name })}
        @click=${() => ctx.navigate(serialize(withoutFilters(ctx.state, [filter])))}>×</button>
      ${error === undefined ? nothing : html`<p class="filters-error" id=${errorId}>${error}</p>`}
    </li>`;
  }

  /** @param {Ctx} ctx */
  menu(ctx) {
    const { t } = ctx;
    if (this.popovers.open !== "filter-menu") this.added = null;
    const added = this.added;
    return this.popovers.render("filter-menu", {
      label: html`<span aria-hidden="true">+</span> ${t("filters.add")}`,
      panelTitle: added === null ? t("filters.add") : filterName(ctx, added),
    }, () => (added === null ? this.menuItems(ctx) : html`<h3>${filterName(ctx, added)}</h3>${this.editor(ctx, added)}`));
  }

  /** @param {Ctx} ctx */
  menuItems(ctx) {
    const add = (/** @type {Filter} */ filter) => {
      this.added = filter.kind === "metadata" ? { ...metadataFilter(""), id: "metadata", params: [] } : filter;
      ctx.update();
      requestAnimationFrame(() => requestAnimationFrame(() => {
        const field = document.querySelector('[data-popover="filter-menu"] [data-autofocus]');
        if (field instanceof HTMLElement) field.focus();
      }));
    };
    return html`<ul class="filters-menu" @keydown=${moveInList}>${addableFilters(ctx.state.params).map((filter) => html`
      <li><button type="button" data-add=${filter.id} @click=${() => add(filter)}>${ctx.t(`filters.${filter.id}`)}</button></li>`)}</ul>`;
  }

  /** @param {Ctx} ctx @param {Filter} filter */
  editor(ctx, filter) {
    if (this.editing?.name !== filter.id) this.editing = { name: filter.id, draft: draftOf(ctx.state.params, filter) };
    return filterEditor({
      ctx, filter, draft: this.editing.draft,
      values: this.facets.values(filter.id),
      label: (value) => this.facets.label(ctx.t, filter.id, value),
      apply: (changes) => this.apply(ctx, changes),
      update: () => ctx.update(),
    });
  }
}

/** On a phone, the presets scroll sideways, and the chosen one may be the last. @param {Element | undefined} button */
function intoView(button) {
  // It is not in the document until the render is over.
  if (button instanceof HTMLElement) requestAnimationFrame(() => {
    const bar = button.parentElement;
    if (bar !== null) bar.scrollLeft = button.offsetLeft - bar.offsetLeft - (bar.clientWidth - button.offsetWidth) / 2;
  });
}

/** Escape leaves the field; a browser would clear it as well. @param {KeyboardEvent} event */
function leave(event) {
  if (event.key !== "Escape" || event.isComposing) return;
  event.preventDefault();
  /** @type {HTMLElement} */ (event.currentTarget).blur();
}

/** @param {Ctx} ctx @param {Filter} filter */
export const filterName = ({ t }, filter) => (filter.id.startsWith(METADATA) ? filter.id : t(`filters.${filter.id}`));

/**
 * A filter in a few words.
 * @param {Ctx} ctx
 * @param {Filter} filter
 * @param {(value: string) => string} label
 * @returns {string}
 */
export function summaryOf(ctx, filter, label) {
  const { t, state: { params } } = ctx;
  const [first = "", second = ""] = filter.params.slice(-2).map((name) => params.get(name) ?? "");
  switch (filter.kind) {
    case "set": case "phone": {
      const set = parseSet(first, filter.kind === "phone");
      const shown = set.values.slice(0, 3).map(label).join(", ");
      const more = set.values.length > 3 ? ` +${set.values.length - 3}` : "";
      return t(`filters.summary.${set.mode}`, { values: shown + more });
    }
    case "ids": return t("filters.summary.ids", { count: parseIds(first).length });
    case "flag": return filter.known?.includes(first) ? t(`filters.${filter.id}.${first}`) : first;
    case "number": return second === "" && first === filter.least ? t("filters.summary.present") : second === "" ? `≥ ${first}` : first === "" ? `≤ ${second}` : `${first} – ${second}`;
    case "time": return timeSummary(ctx, filter, first, second);
    default: return first === "" ? second : first;
  }
}

/** @param {Ctx} ctx @param {Filter} filter @param {string} after @param {string} before */
function timeSummary({ t, format, state }, filter, after, before) {
  const range = filter.id === "started" ? state.params.get("range") : undefined;
  if (range !== undefined && after === "" && before === "") {
    const days = /^(\d{1,4})d$/.exec(range)?.[1];
    return PRESETS.includes(range) ? t(`filters.preset.${range}`) : days === undefined ? range : t("filters.preset.days", { count: Number(days) });
  }
  const shown = (/** @type {string} */ text) => {
    const time = moment(text, format.timeZone);
    return time === null ? text : format.dateTime(time / 1000);
  };
  return after === "" ? t("filters.summary.before", { time: shown(before) })
    : before === "" ? t("filters.summary.after", { time: shown(after) })
    : `${shown(after)} – ${shown(before)}`;
}

/**
 * What the server says is wrong, by the filter that caused it. A filter that the URL does not have is not named.
 * @param {unknown} error
 * @param {Filter[]} active
 * @returns {Map<string, string>}
 */
export function errorsByFilter(error, active) {
  /** @type {Map<string, string>} */
  const errors = new Map();
  if (!(error instanceof ApiError) || (error.status !== 400 && error.status !== 403)) return errors;
  for (const { parameter = "", detail = "" } of error.errors) {
    const name = parameter === "search" || parameter === "q" ? "search"
      : [...active, ...FILTERS].find((filter) => filter.params.includes(parameter))?.id;
    if (name !== undefined) errors.set(name, errors.has(name) ? `${errors.get(name)}; ${detail}` : detail);
  }
  return errors;
}
