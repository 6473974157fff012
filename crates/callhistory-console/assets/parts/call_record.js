// What the call page reads from a record: times, turns of the transcript, tool calls. Platforms name these differently.

import { isObject, JsonNumber, member, parseJson, prettyJson, scalarText } from "./json.js";
import { decimal, decimalText, subtract } from "./decimal.js";

/** @typedef {import("./json.js").JsonValue} JsonValue */
/** @typedef {import("./json.js").JsonObject} JsonObject */
/**
 * @typedef {object} ToolCall
 * @property {string} name
 * @property {JsonValue | undefined} args
 * @property {JsonValue | undefined} result
 * @property {number | null} time seconds since the start of the call
 */
/**
 * @typedef {object} Turn
 * @property {number} index
 * @property {string} role as it was sent
 * @property {"agent" | "user" | "system" | "tool" | "other"} kind
 * @property {string} text
 * @property {number | null} time seconds since the start of the call
 * @property {ToolCall[]} tools
 */

/** The members that can have the words of a turn, the first one that is present counts. */
const TEXT_MEMBERS = ["content", "text", "message", "transcript", "utterance", "value"];
const ROLE_MEMBERS = ["role", "speaker", "participant", "user", "source", "type"];
/** Members with seconds since the start, or with a moment; the first ones in the order in which the search reads them. */
const TIME_MEMBERS = [
  "secondsFromStart", "time_in_call_secs", "start", "startTime", "start_time", "offset", "time", "timestamp", "createdAt",
  "created_at", "calledAt", "at",
];
const MILLISECOND_MEMBERS = ["startMs", "start_ms", "offsetMs", "offset_ms"];

const ROLES = new Map(Object.entries({
  agent: "agent", assistant: "agent", bot: "agent", ai: "agent", model: "agent", botmessage: "agent",
  user: "user", caller: "user", customer: "user", human: "user", client: "user", callee: "user", lead: "user",
  system: "system", developer: "system",
}));

/** @param {unknown} record @param {string[]} names @returns {any} the first member that is present */
function firstOf(record, names) {
  for (const name of names) {
    const value = member(record, name);
    if (value !== undefined && value !== null) return value;
  }
  return undefined;
}

/** The text of a member; numbers with their digits. @param {unknown} record @param {string} name */
export function textOf(record, name) {
  const value = member(record, name);
  return value === undefined || value === null ? "" : typeof value === "string" ? value : scalarText(value);
}

/** A moment of the record, in milliseconds. @param {unknown} record @param {string} name @returns {number | null} */
export function momentOf(record, name) {
  const value = member(record, name);
  const time = value instanceof JsonNumber ? Number(value.text) * 1000 : typeof value === "string" ? Date.parse(value) : NaN;
  return Number.isFinite(time) && Math.abs(time) < 8.64e15 ? time : null;
}

/**
 * The duration in seconds, as the service counts it: the member, or the end minus the start.
 * @param {unknown} record
 * @returns {{ text: string, isDerived: boolean } | null}
 */
export function durationOf(record) {
  const given = member(record, "duration");
  if (given instanceof JsonNumber) return { text: given.text, isDerived: false };
  const [start, end] = [decimal(textOf(record, "startTime")), decimal(textOf(record, "endTime"))];
  if (start === null || end === null) return null;
  const length = subtract(end, start);
  return length.units < 0n ? null : { text: decimalText(length), isDerived: true };
}

/** The start of the call in seconds, from which turns are counted. @param {unknown} record */
const startOf = (record) => (momentOf(record, "startTime") ?? momentOf(record, "createdAt") ?? NaN) / 1000;

/** @param {number} value @param {number} start seconds since the start, of an offset or a moment in any unit */
function offset(value, start) {
  let seconds = value;
  for (let steps = 0; seconds >= 1e11 && steps < 3; steps += 1) seconds /= 1000;
  if (seconds >= 1e8) seconds -= start;
  return Number.isFinite(seconds) && seconds >= 0 ? seconds : null;
}

/** @param {string} text @param {number} start */
function offsetOfText(text, start) {
  const clock = /^(?:(\d+):)?(\d{1,2}):(\d{2}(?:[.,]\d+)?)$/.exec(text.trim());
  if (clock) return Number(clock[1] ?? 0) * 3600 + Number(clock[2]) * 60 + Number((clock[3] ?? "").replace(",", "."));
  if (/^\d+(?:\.\d+)?$/.test(text.trim())) return offset(Number(text), start);
  const moment = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : NaN;
  return Number.isFinite(moment) ? offset(moment, start) : null;
}

/**
 * Seconds since the start of the call, of a turn or a tool call.
 * @param {unknown} item @param {number} start
 * @returns {number | null}
 */
function timeOf(item, start) {
  const words = member(item, "words");
  const holders = Array.isArray(words) && words.length > 0 ? [item, words[0]] : [item];
  for (const holder of holders) {
    for (const name of TIME_MEMBERS) {
      const value = member(holder, name);
      const time = value instanceof JsonNumber ? offset(Number(value.text), start)
        : typeof value === "string" ? offsetOfText(value, start) : null;
      if (time !== null) return time;
    }
    for (const name of MILLISECOND_MEMBERS) {
      const value = member(holder, name);
      if (value instanceof JsonNumber) return offset(Number(value.text) / 1000, start);
    }
  }
  return null;
}

/** @param {any} value @returns {string} */
function wordsOf(value) {
  if (value === undefined || value === null) return "";
  if (Array.isArray(value)) return value.map((part) => wordsOf(isObject(part) ? firstOf(part, TEXT_MEMBERS) ?? part : part)).join("\n");
  return isObject(value) ? prettyJson(value) : scalarText(value);
}

/** A text that is JSON, as the value that it has. @param {any} value @returns {JsonValue | undefined} */
function unpacked(value) {
  if (typeof value !== "string" || !/^\s*[[{]/.test(value)) return value;
  try {
    return parseJson(value);
  } catch {
    return value;
  }
}

const NAMES = ["name", "tool_name", "toolName", "function_name", "tool"];
const ARGUMENTS = ["arguments", "args", "parameters", "params", "params_as_json", "input"];
const RESULTS = ["result", "output", "response", "result_value", "returnValue"];

/** @param {unknown} item @param {number} start @returns {ToolCall} */
export function toolCall(item, start) {
  const inner = member(item, "function");
  const named = firstOf(item, NAMES) ?? (isObject(inner) ? firstOf(inner, NAMES) : inner);
  const args = firstOf(item, ARGUMENTS) ?? firstOf(inner, ARGUMENTS);
  const result = firstOf(item, RESULTS) ?? firstOf(inner, RESULTS);
  const isBare = args === undefined && result === undefined && named === undefined;
  return {
    name: wordsOf(named),
    args: isBare ? /** @type {JsonValue} */ (item) : unpacked(args),
    result: unpacked(result),
    time: timeOf(item, start),
  };
}

/** The function calls of a record. @param {unknown} record @returns {ToolCall[]} */
export function functionCallsOf(record) {
  const items = member(record, "functionCalls");
  const start = startOf(record);
  return Array.isArray(items) ? items.map((item) => toolCall(item, start)) : [];
}

/** @param {unknown} item @param {Turn["kind"]} kind @param {number} start @returns {ToolCall[]} */
function toolsOf(item, kind, start) {
  const listed = ["tool_calls", "toolCalls", "tool_results", "toolResults", "functionCalls"]
    .flatMap((name) => (Array.isArray(member(item, name)) ? member(item, name) : []));
  if (listed.length > 0) return listed.map((call) => toolCall(call, start));
  if (kind !== "tool" || !isObject(item)) return [];
  const call = toolCall(item, start);
  const content = firstOf(item, TEXT_MEMBERS);
  if (call.args === item) call.args = undefined;
  if (call.result === undefined && content !== undefined) call.result = unpacked(content);
  return call.name === "" && call.args === undefined && call.result === undefined ? [] : [call];
}

/** @param {string} role @returns {Turn["kind"]} */
export function kindOf(role) {
  const word = role.replace(/[_\-\s]/gu, "").toLowerCase();
  const kind = ROLES.get(word);
  if (kind !== undefined) return /** @type {Turn["kind"]} */ (kind);
  return word.startsWith("tool") || word.startsWith("function") ? "tool" : "other";
}

/** @param {JsonValue} item @param {number} index @param {number} start @returns {Turn} */
function turn(item, index, start) {
  if (!isObject(item)) return { index, role: "", kind: "other", text: wordsOf(item), time: null, tools: [] };
  const role = wordsOf(firstOf(item, ROLE_MEMBERS));
  const kind = kindOf(role);
  const tools = toolsOf(item, kind, start);
  const content = firstOf(item, TEXT_MEMBERS);
  const isShown = tools.length === 0 || kind !== "tool";
  const fallback = tools.length === 0 ? prettyJson(item) : "";
  return { index, role, kind, text: isShown ? (content === undefined ? fallback : wordsOf(content)) : "", time: timeOf(item, start), tools };
}

/** The turns of a record. @param {unknown} record @returns {Turn[]} */
export function turnsOf(record) {
  const items = member(record, "transcript");
  const start = startOf(record);
  return Array.isArray(items) ? items.map((item, index) => turn(item, index, start)) : [];
}

/**
 * The turn that is spoken at a time.
 * @param {Turn[]} timed turns with a time, in the order of their times
 * @param {number} seconds
 * @returns {Turn | null}
 */
export function turnAt(timed, seconds) {
  let [low, high] = [0, timed.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((timed[middle]?.time ?? 0) <= seconds + 0.05) low = middle + 1;
    else high = middle;
  }
  return timed[low - 1] ?? null;
}
