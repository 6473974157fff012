// The metrics of the charts, with exact numbers, and the lists that they lead to.

import { isAborted, urlOf } from "../api.js";
import { serialize } from "../url_state.js";
import { LEAST_COST, LEAST_DURATION } from "./filters.js";
import { JsonNumber, member, parseJson } from "./json.js";
import { OUTCOMES } from "./outcome.js";
import { addDays, filtersOf, localDate, localParts, localTime, periodOf, withPeriod } from "./period.js";

/** @typedef {import("./json.js").JsonObject} JsonObject */
/** @typedef {import("./period.js").Period} Period */
/** @typedef {"hour" | "day" | "week" | "month"} Interval */
/**
 * @typedef {object} Figures
 * @property {number} calls
 * @property {number} completed
 * @property {number} answered
 * @property {number | null} callers null for a key that may not compare phone numbers
 * @property {string} duration mean, in seconds, as text
 * @property {Array<[string, string]>} costs exact sums with their currency, which may be empty
 */
/** @typedef {Figures & { key: Map<string, string>, query: string }} Group */
/** @typedef {{ start: number, end: number }} Bucket in milliseconds */

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** What charts show if a URL names no period. */
export const DEFAULT_RANGE = "30d";
export const INTERVALS = /** @type {Interval[]} */ (["hour", "day", "week", "month"]);
/** More bars than this are too thin to see. */
const MAX_BUCKETS = 750;

/** The parameters of a URL, with a period. @param {State} state */
export function chartParams({ params }) {
  const isBound = ["startedAfter", "startedBefore", "dateRange", "range"].some((name) => params.has(name));
  return isBound ? params : new Map([...params, ["range", DEFAULT_RANGE]]);
}

/** @param {unknown} value @param {string} name */
const textOf = (value, name) => (member(value, name) instanceof JsonNumber ? member(value, name).text : null);
/** @param {unknown} value @param {string} name */
const countOf = (value, name) => Number(textOf(value, name) ?? 0);

/** @param {unknown} value @returns {Figures} */
function figures(value) {
  const byCurrency = member(value, "totalCostByCurrency");
  const costs = byCurrency instanceof Map
    ? [...byCurrency].map(([currency, sum]) => /** @type {[string, string]} */ ([currency, String(sum)]))
    : [/** @type {[string, string]} */ (["", textOf(value, "totalCost") ?? "0"])];
  return {
    calls: countOf(value, "totalCalls"),
    completed: countOf(value, "completedCalls"),
    answered: countOf(value, "answeredCalls"),
    callers: textOf(value, "distinctCallers") === null ? null : countOf(value, "distinctCallers"),
    duration: textOf(value, "averageDuration") ?? "0",
    costs,
  };
}

/** @param {unknown} value @returns {Group} */
const group = (value) => ({ ...figures(value), key: new Map(member(value, "group") ?? []), query: String(member(value, "query") ?? "") });

/**
 * Metrics under the filters of the page.
 * @param {Ctx} ctx
 * @param {Map<string, string>} filters
 * @param {Period} period
 * @param {Record<string, string>} [params]
 * @returns {Promise<{ total: Figures, groups: Group[] }>}
 */
export async function metrics(ctx, filters, period, params = {}) {
  const query = new Map([...withPeriod(filters, period), ...Object.entries(params)]);
  const response = await ctx.api.fetch(urlOf("metrics", query), { signal: ctx.signal });
  const body = parseJson(await response.text());
  const groups = member(body, "groups");
  return { total: figures(body), groups: Array.isArray(groups) ? groups.map(group) : [] };
}

/**
 * Groups by outcome, and by a time if one is given.
 * @param {Ctx} ctx @param {Map<string, string>} filters @param {Period} period @param {Record<string, string>} [time]
 */
export function byOutcome(ctx, filters, period, time = {}) {
  const groupBy = [time["groupBy"], "outcome"].filter((key) => key !== undefined).join(",");
  return metrics(ctx, filters, period, { ...time, groupBy });
}

/** The labels of the IDs that have one. */
const LABELS = [["agentId", "agent"], ["callFlowId", "callFlowName"]];
/** The newest calls have the labels in use. */
const LABELED_CALLS = 200;

/**
 * The names of agents and flows by their ID, as the newest calls have them.
 * @param {Ctx} ctx @param {Map<string, string>} filters @param {Period} period
 * @returns {Promise<Map<string, string>>} by member and ID, such as `agentId a-1`
 */
export async function namesOf(ctx, filters, period) {
  /** @type {Map<string, string>} */
  const names = new Map();
  try {
    const params = { fields: LABELS.flat().join(","), limit: String(LABELED_CALLS) };
    const { body } = await ctx.api.get("", new Map([...withPeriod(filters, period), ...Object.entries(params)]), { signal: ctx.signal });
    for (const call of /** @type {Record<string, string>[]} */ (body).reverse()) {
      for (const [id = "", label = ""] of LABELS) if (call[id] && call[label]) names.set(`${id} ${call[id]}`, call[label]);
    }
  } catch (error) {
    if (isAborted(error)) throw error;
    // The charts are complete without them.
  }
  return names;
}

/** The outcome of a group. @param {Group} one */
export const outcomeKey = (one) => {
  const outcome = one.key.get("outcome") ?? "unknown";
  return OUTCOMES.includes(outcome) ? outcome : "unknown";
};

/**
 * The list of a query of the API.
 * @param {Ctx} ctx
 * @param {string | Map<string, string>} query
 * @returns {string} a fragment
 */
export function listHash({ state }, query) {
  const params = new Map(typeof query === "string" ? new URLSearchParams(query) : query);
  const search = params.get("search");
  params.delete("search");
  if (search !== undefined) params.set("q", search);
  for (const name of ["timezone", "columns", "density"]) {
    const value = state.params.get(name);
    if (value !== undefined) params.set(name, value);
  }
  return serialize({ page: "calls", id: "", workspace: state.workspace, params });
}

/** The list of the page itself. @param {Ctx} ctx @param {Map<string, string>} filters @param {Period} period */
export const wholeList = (ctx, filters, period) => listHash(ctx, withPeriod(filters, period));

/**
 * The lists of the calls that figures count. Null where a filter excludes all of them, so that no other one can ask for them.
 * @param {Ctx} ctx
 * @param {string | Map<string, string>} query of the calls of the figures
 * @param {Figures} figures
 */
export function figureLinks(ctx, query, figures) {
  const filters = new Map(typeof query === "string" ? new URLSearchParams(query) : query);
  /** The calls with this value: if there are any, the filter that the query has allows it. */
  const having = (/** @type {string} */ name, /** @type {string} */ value, /** @type {number} */ count) =>
    (filters.has(name) && count === 0 ? null : listHash(ctx, new Map([...filters, [name, value]])));
  /** The calls with a number: a bound of it asks for them already. */
  const known = (/** @type {string[]} */ bounds, /** @type {string} */ least) =>
    new Map(bounds.some((name) => filters.has(name)) ? filters : [...filters, [bounds[0] ?? "", least]]);
  const costs = known(["minCost", "maxCost"], LEAST_COST);
  return {
    calls: listHash(ctx, filters),
    answered: having("answered", "true", figures.answered),
    completed: having("outcome", "completed", figures.completed),
    duration: listHash(ctx, known(["minDuration", "maxDuration"], LEAST_DURATION)),
    /** @param {string} currency empty if all costs have the same one */
    cost: (currency) => listHash(ctx, currency === "" ? costs : new Map([...costs, ["currency", currency === "unknown" ? "!*" : currency]])),
    callers: filters.has("fromPhoneNumber") ? null : listHash(ctx, new Map([...filters, ["fromPhoneNumber", "*"]])),
  };
}

/** @param {number} time @param {Interval} interval @param {string} zone @returns {number} the start of the bucket of a time */
function bucketStart(time, interval, zone) {
  if (interval === "hour") {
    const { wall } = localParts(time, zone);
    return time - (((wall + (time % 1000)) % HOUR) + HOUR) % HOUR;
  }
  const date = localDate(time, zone);
  if (interval === "month") return localTime(`${date.slice(0, 7)}-01`, zone);
  const weekday = (new Date(`${date}T00:00:00Z`).getUTCDay() + 6) % 7;
  return localTime(interval === "week" ? addDays(date, -weekday) : date, zone);
}

/** @param {number} start @param {Interval} interval @param {string} zone @returns {number} */
function nextStart(start, interval, zone) {
  if (interval === "hour") return start + HOUR;
  const date = localDate(start, zone);
  if (interval === "month") return localTime(`${addDays(`${date.slice(0, 7)}-28`, 5).slice(0, 7)}-01`, zone);
  return localTime(addDays(date, interval === "week" ? 7 : 1), zone);
}

/**
 * The buckets of a period, also those without calls.
 * @param {number} after @param {number} before @param {Interval} interval @param {string} zone
 * @returns {Bucket[]}
 */
export function bucketsOf(after, before, interval, zone) {
  /** @type {Bucket[]} */
  const buckets = [];
  for (let start = bucketStart(after, interval, zone); start < before && buckets.length < 10_000;) {
    const end = nextStart(start, interval, zone);
    buckets.push({ start, end });
    start = end;
  }
  return buckets;
}

/** The start that the key of a group names. @param {string} key @param {string} zone */
export function keyStart(key, zone) {
  if (key.length > 10) return Date.parse(key);
  return localTime(key.length === 7 ? `${key}-01` : key, zone);
}

/** The interval of a period: the one that was chosen, if its bars are not too many. @param {number} length @param {string} chosen @returns {Interval} */
export function intervalOf(length, chosen) {
  const sizes = /** @type {Array<[Interval, number]>} */ ([["hour", HOUR], ["day", DAY], ["week", 7 * DAY], ["month", 30 * DAY]]);
  const fits = sizes.filter(([, size]) => length / size <= MAX_BUCKETS);
  const wanted = fits.find(([name]) => name === chosen)?.[0];
  if (wanted !== undefined) return wanted;
  if (length <= 3.5 * DAY) return "hour";
  if (length <= 120 * DAY) return "day";
  return length <= 3 * 365 * DAY ? "week" : "month";
}

/**
 * The period of the page with both bounds: of one without, from the first to the last month with calls.
 * @param {Ctx} ctx @param {number} now
 * @returns {Promise<Period>}
 */
export async function boundedPeriod(ctx, now) {
  const zone = ctx.format.timeZone;
  const period = periodOf(chartParams(ctx.state), zone, now);
  if (period.after !== null && period.before !== null) return period;
  const { groups } = await metrics(ctx, filtersOf(ctx.state.params), period, { groupBy: "month", timezone: zone });
  const starts = groups.flatMap((one) => (one.key.has("month") ? [keyStart(one.key.get("month") ?? "", zone)] : []));
  if (starts.length === 0) return period;
  return { after: period.after ?? Math.min(...starts), before: period.before ?? nextStart(Math.max(...starts), "month", zone) };
}
