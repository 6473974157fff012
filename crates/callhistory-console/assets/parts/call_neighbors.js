// The calls before and after this one in the list that led here: same filter, same sort.

import { add, compare, decimal, decimalText } from "./decimal.js";
import { momentOf, textOf } from "./call_record.js";
import { filtersOf, periodOf, withPeriod } from "./period.js";

/** @typedef {{ previous: string | null, next: string | null }} Neighbors IDs; null if there is none, or too far away */

/** Records of a page, and pages: calls with the same time that come first are read over. */
const LIMIT = 20;
const MAX_PAGES = 3;
/** Without a bound, the list is read from its top, and no further than this. */
const WALK_LIMIT = 1000;
const NANOSECOND = { units: 1n, scale: 9 };

/** The parameters that bound a sort value from below and from above. @type {Record<string, [string, string]>} */
const BOUNDS = {
  startTime: ["startedAfter", "startedBefore"],
  updatedAt: ["updatedAfter", "updatedBefore"],
  duration: ["minDuration", "maxDuration"],
  cost: ["minCost", "maxCost"],
};

/** @param {Headers} headers @returns {Map<string, string> | null} the parameters of the next page */
export function nextPage(headers) {
  const found = /<[^>]*\?([^>]*)>;\s*rel="?next"?/.exec(headers.get("link") ?? "");
  return found ? new Map(new URLSearchParams(found[1])) : null;
}

/** @param {number} time milliseconds @returns {[string, string]} a range of Unix seconds with this millisecond in it */
const millisecond = (time) => [String(time / 1000), String((time + 1) / 1000)];

/**
 * A small range with the sort value of the record in it; null without a value.
 * @param {import("./json.js").JsonObject} record @param {string} sort
 * @returns {[string, string] | null}
 */
function around(record, sort) {
  if (sort === "duration" || sort === "cost") {
    const text = sort === "cost" ? textOf(record.get("cost"), "customer_charge") : textOf(record, "duration");
    const value = decimal(text);
    return value === null || value.scale > 9 ? null : [decimalText(value), decimalText(value)];
  }
  const start = sort === "startTime" ? decimal(textOf(record, "startTime")) : null;
  if (start !== null && start.scale <= 9 && start.units > 0n) return [decimalText(start), decimalText(add(start, NANOSECOND))];
  const time = momentOf(record, sort === "updatedAt" ? "updatedAt" : "createdAt");
  return time === null || (sort === "startTime" && textOf(record, "startTime") !== "") ? null : millisecond(time);
}

/**
 * The ID after this one in a list, from a list that begins near it.
 * @param {Ctx} ctx @param {Map<string, string>} params
 * @returns {Promise<string | null>}
 */
async function following(ctx, params) {
  let page = /** @type {Map<string, string> | null} */ (params);
  let isFound = false;
  for (let pages = 0; page !== null && pages < MAX_PAGES; pages += 1) {
    const { body, headers } = await ctx.api.get("", page, { signal: ctx.signal });
    for (const { _id: id } of /** @type {Array<{ _id: string }>} */ (body)) {
      if (isFound) return id;
      isFound = id === ctx.state.id;
    }
    page = nextPage(headers);
  }
  return null;
}

/** From the top of the list. @param {Ctx} ctx @param {Map<string, string>} params @returns {Promise<Neighbors>} */
async function walk(ctx, params) {
  const { body } = await ctx.api.get("", new Map([...params, ["limit", String(WALK_LIMIT)]]), { signal: ctx.signal });
  const ids = /** @type {Array<{ _id: string }>} */ (body).map((call) => call._id);
  const at = ids.indexOf(ctx.state.id);
  return at < 0 ? { previous: null, next: null } : { previous: ids[at - 1] ?? null, next: ids[at + 1] ?? null };
}

/** Whether a bound of the filter leaves the value out. @param {Map<string, string>} params @param {[string, string]} names @param {[string, string]} range */
function isOutside(params, [lower, upper], [low, high]) {
  const of = (/** @type {string} */ name) => {
    const text = params.get(name) ?? "";
    const time = /^\d{4}-/.test(text) ? Date.parse(text) / 1000 : NaN;
    return decimal(Number.isNaN(time) ? text : String(time));
  };
  const [min, max, from, to] = [of(lower), of(upper), decimal(low), decimal(high)];
  return (min !== null && to !== null && compare(min, to) > 0) || (max !== null && from !== null && compare(max, from) < 0);
}

/**
 * @param {Ctx} ctx
 * @param {import("./json.js").JsonObject} record
 * @returns {Promise<Neighbors>}
 */
export async function neighborsOf(ctx, record) {
  const { params } = ctx.state;
  const order = /^-?(?:startTime|createdAt|updatedAt|duration|cost)$/.exec(params.get("sort") ?? "")?.[0] ?? "-startTime";
  const [sort, isDescending] = [order.replace(/^-/, ""), order.startsWith("-")];
  const filters = withPeriod(filtersOf(params), periodOf(params, ctx.format.timeZone, Date.now()));
  for (const [name, value] of [["fields", "_id"], ["limit", String(LIMIT)]]) filters.set(name ?? "", value ?? "");
  const [names, range] = [BOUNDS[sort], around(record, sort)];
  if (names === undefined || range === null) return walk(ctx, new Map([...filters, ["sort", order]]));
  if (isOutside(filters, names, range)) return { previous: null, next: null };
  const [above, below] = await Promise.all([
    following(ctx, new Map([...filters, ["sort", sort], [names[0], range[0]]])),
    following(ctx, new Map([...filters, ["sort", `-${sort}`], [names[1], range[1]]])),
  ]);
  // Records without the value come below all others, where no bound finds them.
  if (below === null && (sort === "duration" || sort === "cost")) return walk(ctx, new Map([...filters, ["sort", order]]));
  return isDescending ? { previous: above, next: below } : { previous: below, next: above };
}
