// The state of the page is in the fragment of its URL: #/calls?workspace=demo&status=failed. It has no API key, ever.

/** The parameters of the API that a URL may have. `search` of the list is `q` here, as in the search operation. */
const API_PARAMS = [
  "agentId", "callFlowId", "batchId", "status", "direction", "callType", "outcome", "answered",
  "fromPhoneNumber", "toPhoneNumber", "phoneNumber", "callIds", "dateRange",
  "startedAfter", "startedBefore", "updatedAfter", "updatedBefore", "timezone",
  "minDuration", "maxDuration", "minCost", "maxCost", "currency", "postAnalysis", "q", "sort", "groupBy", "limit",
];

/** The console's own parameters. Append here. */
const OWN_PARAMS = [
  "columns", // names of columns, separated by commas
  "range", // a preset of dates: today, yesterday, 7d, 30d, …
  "density", // compact or comfortable
  "follow", // 1: the list follows changes
  "order", // of search: relevance or time
  "tab", // of the call page
  "turn", // of the call page: the number of a turn to show, from 0
  "at", // seconds into the recording
  "metric", // of the charts
  "interval", // of the charts: hour, day, week, month
  "compare", // of the charts: 0 hides the period before
  "return", // of the sign-in page: where to go next
  "cursor", // of the page of the list
  "pageNumber", // of the list, for people
];

const KNOWN = new Set([...API_PARAMS, ...OWN_PARAMS]);
const PAGES = new Set(["calls", "charts", "operate", "sign-in"]);
/** No call has one of these IDs: they are other routes. */
const RESERVED_IDS = new Set([".", "..", "batch", "changes", "export", "metrics", "search"]);
const MAX_VALUE_LENGTH = 8192;
const WORKSPACE = /^[A-Za-z0-9_.~:@+=-]{1,128}$/;

/**
 * @param {string} name
 * @returns {boolean} whether a URL may have this parameter
 */
export function isKnownParam(name) {
  return KNOWN.has(name) || (name.startsWith("metadata.") && name.length > "metadata.".length);
}

/**
 * @param {string} text
 * @returns {boolean} whether this can be the name of a workspace
 */
export function isWorkspace(text) {
  return WORKSPACE.test(text);
}

/**
 * Reads a fragment. What is unknown or damaged is left out.
 * @param {string} hash such as `#/calls?workspace=demo`
 * @returns {State}
 */
export function parse(hash) {
  const path = hash.replace(/^#/, "");
  const at = path.indexOf("?");
  const [names, query] = at < 0 ? [path, ""] : [path.slice(0, at), path.slice(at + 1)];
  const [, first = "", ...rest] = names.split("/");
  /** @type {Map<string, string>} */
  const params = new Map();
  let workspace = "";
  for (const [name, value] of new URLSearchParams(query)) {
    if (name === "workspace") {
      if (isWorkspace(value)) workspace = value;
    } else if (isKnownParam(name) && value !== "" && value.length <= MAX_VALUE_LENGTH) {
      params.set(name, value);
    }
  }
  const page = PAGES.has(first) ? first : "calls";
  const id = page === "calls" && first === "calls" ? decode(rest.join("/")) : "";
  const isCall = id !== "" && !RESERVED_IDS.has(id);
  return { page: isCall ? "call" : page, id: isCall ? id : "", workspace, params };
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

/**
 * @param {State} state
 * @returns {string} the fragment, with `#`
 */
export function serialize(state) {
  const query = new URLSearchParams();
  if (state.workspace !== "") query.set("workspace", state.workspace);
  for (const [name, value] of state.params) {
    if (isKnownParam(name) && value !== "") query.set(name, value);
  }
  const path = state.page === "call" ? `calls/${encodeURIComponent(state.id)}` : state.page;
  const text = query.toString();
  return text === "" ? `#/${path}` : `#/${path}?${text}`;
}

/**
 * @param {State} state
 * @param {string} name
 * @param {string | null} value null or an empty text removes it
 * @returns {State} a copy with this value
 */
export function withParam(state, name, value) {
  const params = new Map(state.params);
  if (value === null || value === "") params.delete(name);
  else params.set(name, value);
  return { ...state, params };
}

/**
 * The same workspace and filters on another page.
 * @param {State} state
 * @param {string} page
 * @param {string} [id] of a call
 * @returns {State}
 */
export function withPage(state, page, id = "") {
  const params = new Map(state.params);
  for (const name of ["return", "tab", "turn", "at"]) params.delete(name);
  return { ...state, page, id, params };
}
