// The period of a URL, as moments: presets, dates of a zone, moments. And the filters of the API that a URL has.

const DAY = 86_400_000;
/** @typedef {{ after: number | null, before: number | null }} Period Half-open, in milliseconds; null is no bound. */

/** @type {Map<string, Intl.DateTimeFormat>} */
const FORMATS = new Map();

/** The parts of a moment in a zone. @param {number} time milliseconds @param {string} zone */
export function localParts(time, zone) {
  let format = FORMATS.get(zone);
  if (format === undefined) {
    format = new Intl.DateTimeFormat("en-CA", {
      timeZone: zone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
    });
    FORMATS.set(zone, format);
  }
  /** @type {Record<string, string>} */
  const parts = {};
  for (const { type, value } of format.formatToParts(time)) parts[type] = value;
  const { year, month, day, hour, minute, second } = parts;
  return { date: `${year}-${month}-${day}`, hour: Number(hour), wall: Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second)) };
}

/** The date of a moment in a zone. @param {number} time @param {string} zone @returns {string} such as 2026-01-31 */
export const localDate = (time, zone) => localParts(time, zone).date;

/** @param {string} date @param {number} days */
export const addDays = (date, days) => new Date(Date.parse(`${date}T00:00:00Z`) + days * DAY).toISOString().slice(0, 10);

/** Days from one date to another. @param {string} from @param {string} to */
export const daysBetween = (from, to) => Math.round((Date.parse(`${to}T00:00:00Z`) - Date.parse(`${from}T00:00:00Z`)) / DAY);

/**
 * The moment of a local time. Of a time that a change of the clocks skips, the moment of the change and later.
 * @param {string} text such as 2026-01-31 or 2026-01-31T12:00
 * @param {string} zone
 * @returns {number} milliseconds; NaN if it is no time
 */
export function localTime(text, zone) {
  const wall = Date.parse(`${text.length === 10 ? `${text}T00:00:00` : text}Z`);
  if (Number.isNaN(wall)) return NaN;
  const offset = (/** @type {number} */ time) => localParts(time, zone).wall - Math.floor(time / 1000) * 1000;
  // Of a time that occurs twice, the first one: the larger offset.
  const candidates = [offset(wall - DAY), offset(wall + DAY)].map((one) => wall - one).sort((a, b) => a - b);
  return candidates.find((time) => time + offset(time) === wall) ?? Math.max(...candidates);
}

/** A time of a query, as the API reads it. @param {string | undefined} text @param {string} zone @returns {number | null} */
export function moment(text, zone) {
  if (text === undefined || text === "") return null;
  const value = text.trim();
  if (/^\d{9,}(?:\.\d+)?$/.test(value)) return Number(value) * 1000;
  const isLocal = /^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?$/.test(value);
  const time = isLocal ? localTime(value.replace(" ", "T"), zone) : Date.parse(value);
  return Number.isNaN(time) ? null : time;
}

/** @param {string} preset @param {string} zone @param {number} now @returns {Period | null} */
function presetPeriod(preset, zone, now) {
  const today = localDate(now, zone);
  const days = (/** @type {number} */ from, /** @type {number} */ to) => ({ after: localTime(addDays(today, from), zone), before: localTime(addDays(today, to), zone) });
  if (preset === "today") return days(0, 1);
  if (preset === "yesterday") return days(-1, 0);
  if (preset === "month") return { after: localTime(`${localDate(now, zone).slice(0, 8)}01`, zone), before: localTime(addDays(today, 1), zone) };
  const count = Number(/^(\d{1,4})d$/.exec(preset)?.[1] ?? 0);
  return count > 0 ? days(1 - count, 1) : null;
}

/** @param {string | undefined} text the parameter `dateRange` @param {string} zone @returns {Period | null} */
function rangePeriod(text, zone) {
  if (text === undefined) return null;
  try {
    const range = JSON.parse(text);
    const [from, to] = [range.from ?? range.startDate, range.to ?? range.endDate];
    const isDate = /^\d{4}-\d{2}-\d{2}$/.test(String(to));
    // Both ends are included, a date as a whole day.
    const last = to === undefined ? null : moment(isDate ? addDays(String(to), 1) : String(to), zone);
    return { after: from === undefined ? null : moment(String(from), zone), before: last === null || isDate ? last : last + 1 };
  } catch {
    return null;
  }
}

/**
 * The period of a URL.
 * @param {Map<string, string>} params
 * @param {string} zone
 * @param {number} now milliseconds
 * @returns {Period}
 */
export function periodOf(params, zone, now) {
  const [after, before] = [moment(params.get("startedAfter"), zone), moment(params.get("startedBefore"), zone)];
  if (after !== null || before !== null) return { after, before };
  return rangePeriod(params.get("dateRange"), zone) ?? presetPeriod(params.get("range") ?? "", zone, now) ?? { after: null, before: null };
}

/**
 * The period before, of the same length; of a period that is not over, up to the same time. Whole days stay whole days,
 * also where the clocks change.
 * @param {Period} period
 * @param {string} zone
 * @param {number} now
 * @returns {{ after: number, before: number } | null} null without two bounds
 */
export function periodBefore({ after, before }, zone, now) {
  if (after === null || before === null || after >= now) return null;
  const [from, to] = [localDate(after, zone), localDate(before, zone)];
  const areDays = localTime(from, zone) === after && localTime(to, zone) === before;
  const start = areDays ? localTime(addDays(from, -daysBetween(from, to)), zone) : after - (before - after);
  return { after: start, before: before <= now ? after : Math.min(after, start + (now - after)) };
}

/** A moment for the API. @param {number} time */
export const apiTime = (time) => new Date(time).toISOString().replace(".000Z", "Z");

/** What a URL has besides filters of the API. */
const NOT_FILTERS = new Set([
  "range", "dateRange", "startedAfter", "startedBefore", "timezone", "q", "sort", "limit", "groupBy", "columns", "density", "follow",
  "cursor", "pageNumber", "order", "tab", "at", "turn", "metric", "interval", "compare", "return",
]);

/**
 * The filters of a URL without its period.
 * @param {Map<string, string>} params
 * @returns {Map<string, string>}
 */
export function filtersOf(params) {
  const filters = new Map([...params].filter(([name]) => !NOT_FILTERS.has(name)));
  const search = params.get("q");
  if (search !== undefined) filters.set("search", search);
  return filters;
}

/** @param {Map<string, string>} filters @param {Period} period @returns {Map<string, string>} parameters of the API */
export function withPeriod(filters, { after, before }) {
  const params = new Map(filters);
  if (after !== null) params.set("startedAfter", apiTime(after));
  if (before !== null) params.set("startedBefore", apiTime(before));
  return params;
}
