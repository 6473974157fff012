// The rows of the list: which page is loaded, which rows are chosen, and what has come since.

import { ApiError, isAborted, NetworkError, urlOf } from "../api.js";
import { chosenColumns, fieldsOf } from "./calls_columns.js";
import { filterOf, limitOf, listKey, nextCursor, orderOf, PageMemory, pageNumberOf, sortOf } from "./calls_query.js";
import { isObject, parseJson } from "./json.js";

/** @typedef {import("./json.js").JsonObject} Call */
/** @typedef {{ member: string, role: string, time: number | null, turn: number | null, snippet: string, matches: Array<[number, number]> }} Evidence */
/** @typedef {{ id: string, call: Call, evidence: Evidence[], isDeleted: boolean }} Row */
/** @typedef {{ rows: Row[], next: string | null }} Rows a page of the list */

/** A page that is loaded faster shows no sign of loading. */
const SLOW_AFTER = 250;
const MAX_SELECTED = 1000;
/** Rows that are drawn in one frame. */
const CHUNK = 20;
/** The members that name agents and flows in the counts and filters, whichever columns are shown. */
const NAMES = ["agent", "agentId", "callFlowId", "callFlowName"];
/** Hits of one page of a search. */
const MAX_HITS = 100;

export class CallsModel {
  constructor() {
    /** @type {Row[]} */
    this.rows = [];
    /** @type {string | null} */
    this.next = null;
    /** @type {unknown} */
    this.error = null;
    /** Rows that are drawn; a long page is drawn over several frames. */
    this.drawn = CHUNK;
    this.isLoaded = false;
    this.isLoading = false;
    this.isSlow = false;
    /** The list that the rows are of. */
    this.key = "";
    /** Whether this server has no search with evidence. */
    this.isSearchMissing = false;
    /** @type {Set<string>} */
    this.selected = new Set();
    /** The row that the keyboard is at. */
    this.current = -1;
    /** @type {number | null} where a range of selected rows begins */
    this.anchor = null;
    /** A page that was loaded while the rows must not move. @type {(Rows & { added: number }) | null} */
    this.waiting = null;
    this.memory = new PageMemory();
    /** @type {AbortController | null} */
    this.request = null;
  }

  /**
   * Loads the page of the state. Rows of the same list stay until the answer is there; an answer that is late is discarded.
   * @param {Ctx} ctx
   */
  async load(ctx) {
    const key = listKey(ctx.state, ctx.format.timeZone);
    if (key !== this.key) this.reset(key);
    this.request?.abort();
    const request = (this.request = new AbortController());
    const signal = AbortSignal.any([request.signal, ctx.signal]);
    [this.isLoading, this.waiting] = [true, null];
    const timer = setTimeout(() => {
      this.isSlow = true;
      ctx.update();
    }, SLOW_AFTER);
    ctx.update();
    try {
      const page = await this.fetch(ctx, ctx.state, signal);
      if (signal.aborted) return;
      this.show(ctx, page);
    } catch (error) {
      if (signal.aborted || isAborted(error)) return;
      this.error = error;
    } finally {
      clearTimeout(timer);
      if (this.request === request) [this.isLoading, this.isSlow] = [false, false];
      if (!signal.aborted) ctx.update();
    }
  }

  /** Forgets what belongs to another list; its rows are shown, as old ones, until the new ones are there. @param {string} key */
  reset(key) {
    this.key = key;
    this.selected.clear();
    [this.current, this.anchor] = [-1, null];
  }

  /** @param {Ctx} ctx @param {Rows} page */
  show(ctx, page) {
    const known = new Set(this.rows.map((row) => row.id));
    const added = page.rows.filter((row) => !known.has(row.id)).length;
    if (added > CHUNK) this.drawn = CHUNK;
    [this.rows, this.next, this.error, this.isLoaded] = [page.rows, page.next, null, true];
    if (page.next !== null) this.memory.remember(this.key, pageNumberOf(ctx.state) + 1, page.next);
    this.current = Math.min(this.current, this.rows.length - 1);
  }

  /** The rows to draw. What is left is drawn in the next frames, so that none takes long. @param {Ctx} ctx */
  drawnRows(ctx) {
    const rows = this.rows.slice(0, this.drawn);
    if (rows.length < this.rows.length) {
      this.drawn += CHUNK;
      ctx.update();
    }
    return rows;
  }

  /**
   * @param {Ctx} ctx
   * @param {State} state
   * @param {AbortSignal} signal
   * @returns {Promise<Rows>}
   */
  async fetch(ctx, state, signal) {
    const filter = filterOf(state, ctx.format.timeZone);
    const limit = limitOf(state);
    const params = new Map([...filter, ["limit", String(limit)], ["fields", fieldsOf(chosenColumns(state), NAMES)]]);
    const cursor = state.params.get("cursor");
    if (cursor !== undefined) params.set("cursor", cursor);
    if (filter.has("search") && !this.isSearchMissing) {
      try {
        return await this.search(ctx, state, params, signal);
      } catch (error) {
        if (!isMissing(error)) throw error;
        this.isSearchMissing = true;
      }
    }
    params.set("sort", sortOf(state));
    const [body, headers] = await getJson(ctx, "", params, signal);
    const calls = Array.isArray(body) ? body.filter(isObject) : [];
    return { rows: calls.slice(0, limit).map((call) => rowOf(call, [])), next: nextCursor(headers) };
  }

  /**
   * @param {Ctx} ctx
   * @param {State} state
   * @param {Map<string, string>} listParams
   * @param {AbortSignal} signal
   * @returns {Promise<Rows>}
   */
  async search(ctx, state, listParams, signal) {
    const params = new Map(listParams);
    params.set("q", params.get("search") ?? "");
    params.delete("search");
    params.set("limit", String(Math.min(limitOf(state), MAX_HITS)));
    params.set("sort", orderOf(state) === "time" ? "-startTime" : "relevance");
    // The best matches are one page.
    if (orderOf(state) !== "time") params.delete("cursor");
    const [body] = await getJson(ctx, "search", params, signal);
    const hits = isObject(body) ? body.get("hits") : null;
    const next = isObject(body) ? body.get("next") : null;
    const rows = (Array.isArray(hits) ? hits : []).filter((hit) => isObject(hit) && isObject(hit.get("call")))
      .map((hit) => rowOf(hit.get("call"), evidenceOf(hit.get("evidence"))));
    return { rows, next: typeof next === "string" ? next : null };
  }

  /** @param {string} id @param {boolean} isSelected @returns {boolean} false beyond the limit of a selection */
  select(id, isSelected) {
    if (!isSelected) return this.selected.delete(id) || true;
    if (this.selected.size >= MAX_SELECTED && !this.selected.has(id)) return false;
    this.selected.add(id);
    return true;
  }

  /** Selects a row, or with shift all rows from the last one. @param {number} index @param {boolean} isSelected @param {boolean} isRange */
  selectRow(index, isSelected, isRange) {
    const from = isRange && this.anchor !== null ? this.anchor : index;
    this.anchor = index;
    let isComplete = true;
    for (let at = Math.min(from, index); at <= Math.max(from, index); at += 1) {
      const row = this.rows[at];
      if (row !== undefined) isComplete = this.select(row.id, isSelected) && isComplete;
    }
    return isComplete;
  }

  /**
   * Takes a fresh page. Rows that are shown get their new content where they are. If rows may move, it is shown as it is;
   * otherwise it waits.
   * @param {Ctx} ctx
   * @param {Rows} page
   * @param {{ mayMove: boolean, deleted: Set<string> }} options
   * @returns {number} calls that have come since
   */
  merge(ctx, page, { mayMove, deleted }) {
    const known = new Set(this.rows.map((row) => row.id));
    // Rows below the last known one were on the next page before.
    const last = page.rows.findLastIndex((row) => known.has(row.id));
    const added = page.rows.filter((row, index) => !known.has(row.id) && (index < last || last < 0)).length;
    if (mayMove) {
      const current = this.rows[this.current]?.id;
      this.show(ctx, page);
      this.current = this.rows.findIndex((row) => row.id === current);
      this.waiting = null;
      return added;
    }
    const fresh = new Map(page.rows.map((row) => [row.id, row]));
    this.rows = this.rows.map((row) => fresh.get(row.id) ?? (deleted.has(row.id) ? { ...row, isDeleted: true } : row));
    this.waiting = { ...page, added };
    return added;
  }
}

/** @param {Call} call @param {Evidence[]} evidence @returns {Row} */
const rowOf = (call, evidence) => ({ id: String(call.get("_id") ?? ""), call, evidence, isDeleted: false });

/** Whether an operation is one that this server does not have: an unknown route or parameter. @param {unknown} error */
function isMissing(error) {
  if (!(error instanceof ApiError)) return false;
  return error.status === 404 || error.status === 405 || (error.status === 400 && error.errors.some((one) => one.parameter === "q" && one.code === "unknown"));
}

/** Evidence as the server has it; what is not of this form is left out. @param {unknown} list @returns {Evidence[]} */
function evidenceOf(list) {
  if (!Array.isArray(list)) return [];
  return list.filter(isObject).map((item) => {
    const number = (/** @type {string} */ name) => {
      const value = Number(item.get(name) ?? NaN);
      return Number.isFinite(value) ? value : null;
    };
    const text = (/** @type {string} */ name) => (typeof item.get(name) === "string" ? item.get(name) : "");
    const matches = Array.isArray(item.get("matches")) ? item.get("matches") : [];
    return {
      member: text("member"), role: text("role"), time: number("time"), turn: number("turn"), snippet: text("snippet"),
      matches: matches.filter(Array.isArray).map((/** @type {any[]} */ [from, to]) => /** @type {[number, number]} */ ([Number(from), Number(to)])),
    };
  });
}

/**
 * A response with numbers as they are.
 * @param {Ctx} ctx
 * @param {string} path
 * @param {Map<string, string>} params
 * @param {AbortSignal} signal
 * @returns {Promise<[unknown, Headers]>}
 */
async function getJson({ api }, path, params, signal) {
  const response = await api.fetch(urlOf(path, params), { signal });
  let text;
  try {
    text = await response.text();
  } catch (error) {
    throw isAborted(error) ? error : new NetworkError();
  }
  return [parseJson(text), response.headers];
}
