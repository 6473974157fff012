// What the list asks of the API: the state of the URL as parameters, and the cursors of the pages that were seen.

import { apiTime, filtersOf, moment, periodOf, withPeriod } from "./period.js";
import { PAGE_PARAMS } from "./filters.js";

export const LIMITS = [25, 50, 100, 200];
const DEFAULT_LIMIT = 50;
const SORTS = new Set(["startTime", "createdAt", "updatedAt", "duration", "cost"]);
const DEFAULT_SORT = "-startTime";

/** @param {State} state @returns {number} rows of a page; what a URL says otherwise is ignored */
export function limitOf(state) {
  const limit = Number(state.params.get("limit"));
  return LIMITS.includes(limit) ? limit : DEFAULT_LIMIT;
}

/** @param {State} state @returns {string} such as `-startTime` */
export function sortOf(state) {
  const sort = state.params.get("sort") ?? "";
  return SORTS.has(sort.replace(/^-/, "")) ? sort : DEFAULT_SORT;
}

/** @param {State} state @returns {"relevance" | "time"} the order of a search */
export const orderOf = (state) => (state.params.get("order") === "time" ? "time" : "relevance");

/** @param {State} state */
export const pageNumberOf = (state) => {
  const page = Number(state.params.get("pageNumber"));
  return state.params.has("cursor") && Number.isInteger(page) && page > 1 ? page : 1;
};

/**
 * The filter of a state as the API reads it: times of a zone as moments. What is no time goes as it is, so that the server
 * says what is wrong with it.
 * @param {State} state
 * @param {string} zone
 * @param {number} [now] milliseconds
 * @returns {Map<string, string>}
 */
export function filterOf(state, zone, now = Date.now()) {
  const { params } = state;
  const filters = withPeriod(filtersOf(params), periodOf(params, zone, now));
  for (const name of PAGE_PARAMS) filters.delete(name);
  for (const name of ["startedAfter", "startedBefore", "updatedAfter", "updatedBefore"]) {
    const text = params.get(name);
    if (text === undefined) continue;
    const time = moment(text, zone);
    filters.set(name, time === null ? text : apiTime(time));
  }
  const range = params.get("dateRange");
  if (range !== undefined && !filters.has("startedAfter") && !filters.has("startedBefore")) filters.set("dateRange", range);
  return filters;
}

/**
 * What makes two states the same list: all but the page and the look.
 * @param {State} state
 * @param {string} zone
 */
export function listKey(state, zone) {
  const { params } = state;
  const names = [...params.keys()].filter((name) => !["columns", "density", "follow", "timezone", ...PAGE_PARAMS].includes(name)).sort();
  return JSON.stringify([state.workspace, zone, names.map((name) => [name, params.get(name)])]);
}

/** @param {Headers} headers @returns {string | null} the cursor of the next page */
export function nextCursor(headers) {
  const found = /<[^>]*\?([^>]*)>;\s*rel="?next"?/.exec(headers.get("link") ?? "");
  return found === null ? null : new URLSearchParams(found[1]).get("cursor");
}

const STORE = "callhistory.pages";
const MAX_LISTS = 12;

/** The cursors of pages by list, kept until the tab is closed: the API has none for the page before. */
export class PageMemory {
  constructor() {
    /** @type {Map<string, Array<string | null>>} */
    this.lists = new Map(readLists());
  }

  /** @param {string} key @param {number} page from 1 @returns {string | null | undefined} null is the first page; undefined is unknown */
  cursor(key, page) {
    return page === 1 ? null : this.lists.get(key)?.[page - 1] ?? undefined;
  }

  /** @param {string} key @param {number} page @param {string} cursor */
  remember(key, page, cursor) {
    const cursors = this.lists.get(key) ?? [null];
    cursors[page - 1] = cursor;
    this.lists.delete(key);
    this.lists.set(key, cursors);
    const kept = [...this.lists].slice(-MAX_LISTS);
    this.lists = new Map(kept);
    try {
      sessionStorage.setItem(STORE, JSON.stringify(kept));
    } catch {
      // They are known until the page is reloaded.
    }
  }
}

/** @returns {Array<[string, Array<string | null>]>} */
function readLists() {
  try {
    const lists = JSON.parse(sessionStorage.getItem(STORE) ?? "[]");
    return Array.isArray(lists) ? lists.filter(isList) : [];
  } catch {
    return [];
  }
}

/** @param {unknown} entry @returns {entry is [string, Array<string | null>]} */
function isList(entry) {
  return Array.isArray(entry) && typeof entry[0] === "string" && Array.isArray(entry[1])
    && entry[1].every((/** @type {unknown} */ cursor) => cursor === null || typeof cursor === "string");
}
