// Counts of the calls by status, outcome, agent, flow and direction, each under the filter without its own value.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { isAborted } from "../api.js";
import { readPreference, writePreference } from "../preferences.js";
import { serialize } from "../url_state.js";
import { filterOf, listKey } from "./calls_query.js";
import { formatSet, isChosen, toggled, withChanges } from "./filters.js";
import { OUTCOMES } from "./outcome.js";

/** @typedef {{ value: string | null, count: number }} Count */
/** @typedef {{ counts: Count[] }} Facet */

const FACETS = ["outcome", "status", "direction", "agentId", "callFlowId"];
const SHOWN = 6;
const MAX_SHOWN = 100;

export class Facets {
  /** @param {() => void} update */
  constructor(update) {
    this.update = update;
    /** @type {Map<string, Facet>} */
    this.facets = new Map();
    /** Facets of which all values are shown. @type {Set<string>} */
    this.expanded = new Set();
    /** Names of agents and flows, by ID. @type {Map<string, string>} */
    this.names = new Map();
    /** Calls under the whole filter. @type {number | null} */
    this.total = null;
    // On a narrow screen they would be above the list.
    this.isOpen = (readPreference("facets") ?? (matchMedia("(min-width: 901px)").matches ? "open" : "closed")) === "open";
    this.key = "";
    /** Facets that show the counts of another filter. @type {Set<string>} */
    this.stale = new Set();
    /** @type {AbortController | null} */
    this.request = null;
  }

  /** @param {Ctx} ctx @param {{ isFresh?: boolean }} [options] isFresh: the calls may be others */
  async load(ctx, { isFresh = false } = {}) {
    const key = `${listKey(ctx.state, ctx.format.timeZone)} ${this.isOpen}`;
    if (key === this.key && !isFresh) return;
    if (key !== this.key) [this.total, this.stale] = [null, new Set(FACETS)];
    this.key = key;
    this.request?.abort();
    const request = (this.request = new AbortController());
    const signal = AbortSignal.any([request.signal, ctx.signal]);
    const filter = filterOf(ctx.state, ctx.format.timeZone);
    const metrics = async (/** @type {string | null} */ facet) => {
      const params = new Map(filter);
      if (facet !== null) params.set("groupBy", facet).delete(facet);
      return (await ctx.api.get("metrics", params, { signal })).body;
    };
    await Promise.allSettled([
      this.take(metrics(null), (body) => {
        this.total = Number(body?.totalCalls);
      }, signal),
      ...(this.isOpen ? FACETS : []).map((name) => this.take(metrics(name), (body) => this.facets.set(name, facetOf(name, body)), signal, name)),
    ]);
  }

  /**
   * @param {Promise<any>} answer
   * @param {(body: any) => void} take
   * @param {AbortSignal} signal
   * @param {string} [name]
   */
  async take(answer, take, signal, name = "") {
    try {
      const body = await answer;
      if (!signal.aborted) {
        take(body);
        this.stale.delete(name);
      }
    } catch (error) {
      if (signal.aborted || isAborted(error)) return;
      // A facet that the server does not have, or a filter that it refuses: the list says which.
      if (name !== "") this.facets.delete(name);
    }
    if (!signal.aborted) this.update();
  }

  /** The list has failed: no count belongs to its filter. */
  outdate() {
    this.request?.abort();
    [this.total, this.key, this.stale] = [null, "", new Set(FACETS)];
  }

  /** Forgets what belongs to another workspace or key. */
  forget() {
    this.outdate();
    for (const known of [this.facets, this.names, this.expanded]) known.clear();
  }

  /** @param {string} filter @returns {string[]} the values that the workspace has */
  values(filter) {
    const counts = this.facets.get(filter)?.counts ?? [];
    return counts.map((count) => count.value ?? "").filter((value) => value !== "");
  }

  /** @param {Translate} t @param {string} filter @param {string} value @returns {string} */
  label(t, filter, value) {
    if (filter === "outcome" && OUTCOMES.includes(value)) return t(`call.outcome.${value}`);
    return this.names.get(`${filter} ${value}`) ?? value;
  }

  /** Learns the names of agents and flows from the rows. @param {import("./calls_model.js").Row[]} rows */
  learn(rows) {
    for (const { call } of rows) {
      for (const [id, name] of [["agentId", "agent"], ["callFlowId", "callFlowName"]]) {
        const [key, label] = [call.get(id ?? ""), call.get(name ?? "")];
        if (typeof key === "string" && typeof label === "string" && label !== "") this.names.set(`${id} ${key}`, label);
      }
    }
  }

  /** @param {Ctx} ctx */
  toggle(ctx) {
    this.isOpen = !this.isOpen;
    writePreference("facets", this.isOpen ? "open" : "closed");
    void this.load(ctx);
    this.update();
  }

  /** @param {Ctx} ctx @returns {Template} */
  render(ctx) {
    if (!this.isOpen) return nothing;
    const shown = FACETS.filter((name) => (this.facets.get(name)?.counts.length ?? 0) > 0);
    return html`<aside class="facets" id="calls-facets" aria-label=${ctx.t("calls.facets")}>
      ${shown.length === 0 && this.total === 0 ? html`<p class="muted">${ctx.t("calls.facets.none")}</p>` : nothing}
      ${repeat(shown, (name) => name, (name) => this.facet(ctx, name))}</aside>`;
  }

  /** @param {Ctx} ctx @param {string} name */
  facet(ctx, name) {
    const { t, state } = ctx;
    const chosen = state.params.get(name);
    const counts = this.facets.get(name)?.counts ?? [];
    const isAll = this.expanded.has(name);
    const isShown = (/** @type {Count} */ count, /** @type {number} */ index) => index < (isAll ? MAX_SHOWN : SHOWN) || isOn(chosen, count.value);
    const shown = counts.filter(isShown);
    const largest = Math.max(1, ...counts.map((count) => count.count));
    return html`<section class="facet" aria-busy=${this.stale.has(name) ? "true" : "false"}><h2>${t(`filters.${name}`)}</h2>
      <ul>${repeat(shown, (count) => count.value ?? "", (count) => html`<li>${this.value(ctx, name, count, largest)}</li>`)}</ul>
      ${counts.length <= SHOWN ? nothing : html`<button class="facet-more" type="button" aria-expanded=${isAll ? "true" : "false"} @click=${() => {
        if (!this.expanded.delete(name)) this.expanded.add(name);
        this.update();
      }}>${isAll ? t("calls.facets.less") : t("calls.facets.more", { count: counts.length - SHOWN })}</button>`}
    </section>`;
  }

  /** @param {Ctx} ctx @param {string} name @param {Count} count @param {number} largest */
  value(ctx, name, { value, count }, largest) {
    const { t, state, format } = ctx;
    const chosen = state.params.get(name);
    const next = value !== null ? toggled(chosen, value) : chosen === "!*" ? null : formatSet({ mode: "absent", values: [] });
    return html`<button type="button" class="facet-value" aria-pressed=${isOn(chosen, value) ? "true" : "false"}
      @click=${() => ctx.navigate(serialize(withChanges(state, { [name]: next })))}>
      <span class="facet-label" title=${value ?? ""}>${value === null ? t("calls.facets.absent") : this.label(t, name, value)}</span>
      <span class="facet-count">${format.number(count)}</span>
      <meter class="facet-bar" min="0" max=${largest} value=${count} aria-hidden="true"></meter>
    </button>`;
  }
}

/** @param {string | undefined} chosen @param {string | null} value */
const isOn = (chosen, value) => (value === null ? chosen === "!*" : isChosen(chosen, value));

/** @param {string} name @param {any} body of metrics @returns {Facet} */
function facetOf(name, body) {
  const groups = Array.isArray(body?.groups) ? body.groups : [];
  /** @type {Count[]} */
  const counts = groups.map((/** @type {any} */ group) => {
    const value = group?.group?.[name];
    return { value: typeof value === "string" && value !== "" ? value : null, count: Number(group?.totalCalls) || 0 };
  });
  counts.sort((a, b) => b.count - a.count);
  return { counts };
}
