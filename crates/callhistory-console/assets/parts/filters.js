// The filters of the API: what a URL has of each, how it is read, and how it is written.

/** @typedef {"set" | "flag" | "phone" | "ids" | "number" | "time" | "json" | "metadata" | "raw"} FilterKind */
/**
 * @typedef {object} Filter
 * @property {string} id its name in texts: `filters.ID`
 * @property {FilterKind} kind
 * @property {string[]} params the parameters of the URL that it has
 * @property {string[]} [known] values that every workspace can have
 * @property {string} [least] the least value of a number: from it on, it is known
 */
/** @typedef {"any" | "none" | "present" | "absent"} SetMode */
/** @typedef {{ mode: SetMode, values: string[] }} ValueSet */

export const OUTCOMES = ["completed", "failed", "no-answer", "busy", "canceled", "voicemail", "live", "unknown"];
/** The presets of the time of a call, in the order of the menu. */
export const PRESETS = ["today", "yesterday", "7d", "30d", "month"];
export const METADATA = "metadata.";
const MAX_METADATA_FILTERS = 16;
export const LEAST_DURATION = "0";
/** The service knows no smaller amount. */
export const LEAST_COST = "-1000000000";

/** @type {Filter[]} */
export const FILTERS = [
  { id: "started", kind: "time", params: ["range", "startedAfter", "startedBefore"] },
  { id: "status", kind: "set", params: ["status"], known: ["completed", "failed", "busy", "no-answer", "canceled", "ongoing", "queued", "ringing"] },
  { id: "outcome", kind: "set", params: ["outcome"], known: OUTCOMES },
  { id: "answered", kind: "flag", params: ["answered"], known: ["true", "false"] },
  { id: "agentId", kind: "set", params: ["agentId"] },
  { id: "callFlowId", kind: "set", params: ["callFlowId"] },
  { id: "direction", kind: "set", params: ["direction"], known: ["inbound", "outbound", "bidirectional"] },
  { id: "callType", kind: "set", params: ["callType"], known: ["sip", "web"] },
  { id: "batchId", kind: "set", params: ["batchId"] },
  { id: "phoneNumber", kind: "phone", params: ["phoneNumber"] },
  { id: "fromPhoneNumber", kind: "phone", params: ["fromPhoneNumber"] },
  { id: "toPhoneNumber", kind: "phone", params: ["toPhoneNumber"] },
  { id: "callIds", kind: "ids", params: ["callIds"] },
  { id: "duration", kind: "number", params: ["minDuration", "maxDuration"], least: LEAST_DURATION },
  { id: "cost", kind: "number", params: ["minCost", "maxCost"], least: LEAST_COST },
  { id: "currency", kind: "set", params: ["currency"], known: ["EUR", "USD", "GBP"] },
  { id: "updated", kind: "time", params: ["updatedAfter", "updatedBefore"] },
  { id: "postAnalysis", kind: "json", params: ["postAnalysis"] },
  { id: "metadata", kind: "metadata", params: [] },
  { id: "dateRange", kind: "raw", params: ["dateRange"] },
];

/** What a filter change resets: the page of the list. */
export const PAGE_PARAMS = ["cursor", "pageNumber"];

/**
 * The filter of a metadata member.
 * @param {string} name without `metadata.`
 * @returns {Filter}
 */
export const metadataFilter = (name) => ({ id: METADATA + name, kind: "metadata", params: [METADATA + name] });

/**
 * The filters that a URL has, in the order of the menu.
 * @param {Map<string, string>} params
 * @returns {Filter[]}
 */
export function activeFilters(params) {
  // Charts have a period unless all time is asked for, which filters nothing.
  const fixed = FILTERS.filter((filter) => filter.params.some((name) => params.has(name) && !(name === "range" && params.get(name) === "all")));
  const names = [...params.keys()].filter((name) => name.startsWith(METADATA) && name.length > METADATA.length);
  return [...fixed, ...names.map((name) => metadataFilter(name.slice(METADATA.length)))];
}

/**
 * The filters that can be added. Those of metadata can be added again, up to the limit of the API.
 * @param {Map<string, string>} params
 * @returns {Filter[]}
 */
export function addableFilters(params) {
  const active = new Set(activeFilters(params).map((filter) => filter.id));
  const members = [...active].filter((id) => id.startsWith(METADATA)).length;
  return FILTERS.filter((filter) => !active.has(filter.id) && filter.kind !== "raw" && (filter.kind !== "metadata" || members < MAX_METADATA_FILTERS));
}

/**
 * A copy of the state with other values, at the first page.
 * @param {State} state
 * @param {Record<string, string | null>} changes by the name of the parameter; null or an empty text removes it
 * @returns {State}
 */
export function withChanges(state, changes) {
  const params = new Map(state.params);
  for (const name of PAGE_PARAMS) params.delete(name);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") params.delete(name);
    else params.set(name, value);
  }
  return { ...state, params };
}

/** @param {State} state @param {Filter[]} filters @returns {State} a copy without them, at the first page */
export const withoutFilters = (state, filters) =>
  withChanges(state, Object.fromEntries(filters.flatMap((filter) => filter.params).map((name) => [name, null])));

/**
 * Reads a set such as `a,b`, `!a,b`, `*` or `!*`. Values are as a person writes them: in a phone number, a star at the end
 * means a prefix, and `\*` a star.
 * @param {string} text
 * @param {boolean} [isPhone]
 * @returns {ValueSet}
 */
export function parseSet(text, isPhone = false) {
  if (text === "*") return { mode: "present", values: [] };
  if (text === "!*") return { mode: "absent", values: [] };
  const isNegated = text.startsWith("!");
  /** @type {string[]} */
  const values = [];
  let value = "";
  const list = isNegated ? text.slice(1) : text;
  for (let at = 0; at < list.length; at += 1) {
    const sign = list.charAt(at);
    if (sign === ",") {
      values.push(value);
      value = "";
    } else if (sign === "\\" && at + 1 < list.length) {
      at += 1;
      const isStarAtEnd = isPhone && list[at] === "*" && (at + 1 === list.length || list[at + 1] === ",");
      value += (isStarAtEnd ? "\\" : "") + list.charAt(at);
    } else {
      value += sign;
    }
  }
  values.push(value);
  return { mode: isNegated ? "none" : "any", values: values.filter((one) => one !== "") };
}

/**
 * Writes a set; an empty text if it filters nothing.
 * @param {ValueSet} set
 * @param {boolean} [isPhone]
 * @returns {string}
 */
export function formatSet({ mode, values }, isPhone = false) {
  if (mode === "present") return "*";
  if (mode === "absent") return "!*";
  const list = values.filter((value) => value !== "").map((value) => escaped(value, isPhone)).join(",");
  return list === "" ? "" : (mode === "none" ? "!" : "") + list;
}

/** @param {string} value @param {boolean} isPhone */
function escaped(value, isPhone) {
  const isLiteralStar = isPhone && value.endsWith("\\*");
  const isPrefix = isPhone && value.endsWith("*") && !isLiteralStar;
  const text = isLiteralStar ? `${value.slice(0, -2)}*` : isPrefix ? value.slice(0, -1) : value;
  const exact = text.replace(/[\\,*]/g, "\\$&").replace(/^!/, "\\!");
  return isPrefix ? `${exact}*` : exact;
}

/**
 * Adds a value to a set of any, or takes it away: what a facet does.
 * @param {string | undefined} text the set as it is
 * @param {string} value
 * @returns {string | null} null if nothing is left
 */
export function toggled(text, value) {
  const set = text === undefined ? { mode: /** @type {SetMode} */ ("any"), values: [] } : parseSet(text);
  if (set.mode !== "any") return formatSet({ mode: "any", values: [value] });
  const rest = set.values.filter((one) => one !== value);
  const values = rest.length === set.values.length ? [...rest, value] : rest;
  return formatSet({ mode: "any", values }) || null;
}

/**
 * Whether a facet's value is chosen.
 * @param {string | undefined} text
 * @param {string} value
 */
export function isChosen(text, value) {
  if (text === undefined) return false;
  const set = parseSet(text);
  return set.mode === "any" && set.values.includes(value);
}

/**
 * Reads a list of IDs: JSON, or separated by commas, blanks or lines.
 * @param {string} text
 * @returns {string[]}
 */
export function parseIds(text) {
  if (text.trimStart().startsWith("[")) {
    try {
      const ids = JSON.parse(text);
      if (Array.isArray(ids) && ids.every((id) => typeof id === "string")) return ids;
    } catch {
      // It is read as a list without quotation marks.
    }
  }
  return text.split(/[\s,]+/).filter((id) => id !== "");
}

/** @param {string[]} ids @returns {string} JSON, because an ID can have a comma; shorter where none has one */
export function formatIds(ids) {
  return ids.every((id) => /^[A-Za-z0-9._~:@+=-]+$/.test(id)) ? ids.join(",") : JSON.stringify(ids);
}
