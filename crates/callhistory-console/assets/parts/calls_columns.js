// The columns of the list: what each needs of a record, how it is shown, and which of them a person has chosen.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { isTexts, readJson, writePreference } from "../preferences.js";
import { isScalar, member, prettyJson } from "./json.js";
import { outcomeOf } from "./outcome.js";

/** @typedef {import("./json.js").JsonObject} Call */
/**
 * @typedef {object} Column
 * @property {string} id
 * @property {string[]} fields the members of a record that it needs
 * @property {string} [sort] the sort key of the API
 * @property {boolean} [isNumber]
 * @property {(ctx: Ctx, call: Call) => unknown} cell
 */

const MEMBER = "metadata.";
const MAX_COLUMNS = 24;
const MAX_CELL_LENGTH = 300;

/** @param {Call} call @param {string} name @returns {string} */
function text(call, name) {
  const value = call.get(name);
  if (value === undefined || value === null) return "";
  return short(isScalar(value) ? String(value) : prettyJson(value));
}

/** A cell has one or two lines; what is longer is on the page of the call. @param {string} value */
function short(value) {
  return value.length > MAX_CELL_LENGTH ? `${value.slice(0, MAX_CELL_LENGTH)}…` : value;
}

/** @param {string} name @returns {Column["cell"]} */
const textCell = (name) => (_ctx, call) => text(call, name);
/** @param {string} name @returns {Column["cell"]} */
const codeCell = (name) => (_ctx, call) => {
  const value = text(call, name);
  return value === "" ? nothing : html`<code>${value}</code>`;
};

/** @param {string} name @returns {Column["cell"]} */
const timeCell = (name) => (ctx, call) => {
  const value = text(call, name);
  return value === "" ? nothing : timeOf(ctx, value);
};

/** @param {Ctx} ctx @param {string} value */
function timeOf({ format }, value) {
  return html`<time>${format.dateTime(value)}</time>`;
}

/** A record without a start counts with its creation, as the order of the list does. @type {Column["cell"]} */
function startCell(ctx, call) {
  const start = text(call, "startTime");
  if (start !== "") return timeOf(ctx, start);
  const created = text(call, "createdAt");
  return created === "" ? nothing : html`<span class="muted" title=${ctx.t("calls.created-instead")}>${timeOf(ctx, created)}</span>`;
}

/** @type {Record<string, string>} */
const TONES = { completed: "chip-ok", failed: "chip-error", busy: "chip-warn", "no-answer": "chip-warn", canceled: "chip-warn", voicemail: "chip-accent", live: "chip-accent" };

/** @type {Column["cell"]} */
function statusCell(_ctx, call) {
  const status = text(call, "status");
  return status === "" ? nothing : html`<span class="chip ${TONES[outcomeOf(status)] ?? ""}"><span class="calls-clip">${status}</span></span>`;
}

/** A name, or the ID where there is none. @param {string} name @param {string} id @returns {Column["cell"]} */
const namedCell = (name, id) => (_ctx, call) => {
  const [label, key] = [text(call, name), text(call, id)];
  return label === "" ? (key === "" ? nothing : html`<code>${key}</code>`) : html`<span title=${key}>${label}</span>`;
};

/** The length as the API counts it: `duration`, or end minus start. @type {Column["cell"]} */
function durationCell({ format }, call) {
  const duration = text(call, "duration");
  if (duration !== "") return format.duration(duration);
  const [start, end] = [Number(text(call, "startTime") || NaN), Number(text(call, "endTime") || NaN)];
  return end >= start ? format.duration(end - start) : nothing;
}

/** @type {Column["cell"]} */
function costCell({ format }, call) {
  const cost = call.get("cost");
  const charge = member(cost, "customer_charge");
  const currency = member(cost, "currency");
  if (charge === undefined || charge === null || !isScalar(charge)) return nothing;
  return format.money(short(String(charge)), typeof currency === "string" ? currency : undefined);
}

/** @type {Column[]} */
export const COLUMNS = [
  { id: "started", fields: ["startTime", "createdAt"], sort: "startTime", cell: startCell },
  { id: "status", fields: ["status"], cell: statusCell },
  { id: "direction", fields: ["direction"], cell: textCell("direction") },
  { id: "agent", fields: ["agent", "agentId"], cell: namedCell("agent", "agentId") },
  { id: "callFlow", fields: ["callFlowName", "callFlowId"], cell: namedCell("callFlowName", "callFlowId") },
  { id: "from", fields: ["fromPhoneNumber"], cell: textCell("fromPhoneNumber") },
  { id: "to", fields: ["toPhoneNumber"], cell: textCell("toPhoneNumber") },
  { id: "duration", fields: ["duration", "startTime", "endTime"], sort: "duration", isNumber: true, cell: durationCell },
  { id: "cost", fields: ["cost"], sort: "cost", isNumber: true, cell: costCell },
  { id: "summary", fields: ["summary"], cell: textCell("summary") },
  { id: "callType", fields: ["callType"], cell: textCell("callType") },
  { id: "batchId", fields: ["batchId"], cell: codeCell("batchId") },
  { id: "callId", fields: ["callId"], cell: codeCell("callId") },
  { id: "id", fields: ["_id"], cell: codeCell("_id") },
  { id: "agentId", fields: ["agentId"], cell: codeCell("agentId") },
  { id: "callFlowId", fields: ["callFlowId"], cell: codeCell("callFlowId") },
  { id: "roomName", fields: ["roomName"], cell: codeCell("roomName") },
  { id: "answered", fields: ["answeredAt"], cell: timeCell("answeredAt") },
  { id: "ended", fields: ["endTime"], cell: timeCell("endTime") },
  { id: "created", fields: ["createdAt"], sort: "createdAt", cell: timeCell("createdAt") },
  { id: "updated", fields: ["updatedAt"], sort: "updatedAt", cell: timeCell("updatedAt") },
];
const DEFAULT = ["started", "status", "direction", "agent", "callFlow", "from", "to", "duration", "cost", "summary"];
/** The usual columns that a window has no room for beside the counts, unless it is wide. A phone has a card for each call. */
const WIDE_ONLY = new Set(["direction", "callFlow"]);
const ROOM = matchMedia("(max-width: 640px), (min-width: 1500px)");

/** The usual columns of this window. */
const usual = () => (ROOM.matches ? DEFAULT : DEFAULT.filter((id) => !WIDE_ONLY.has(id)));

/** A column of a metadata member; the path of a nested one has dots. @param {string} path @returns {Column} */
function metadataColumn(path) {
  return {
    id: MEMBER + path,
    fields: ["metadata"],
    cell(_ctx, call) {
      const metadata = call.get("metadata");
      const value = member(metadata, path) ?? path.split(".").reduce((inner, name) => member(inner, name), metadata);
      return value === undefined || value === null ? nothing : short(isScalar(value) ? String(value) : prettyJson(value));
    },
  };
}

/** @param {string} id @returns {Column | null} */
function columnOf(id) {
  const path = id.startsWith(MEMBER) ? id.slice(MEMBER.length) : "";
  return COLUMNS.find((column) => column.id === id) ?? (path === "" || path.length > 256 ? null : metadataColumn(path));
}

/** Columns by name; unknown and repeated ones are left out. @param {string[]} ids @returns {Column[]} */
function columnsOf(ids) {
  const columns = [...new Set(ids)].map(columnOf).filter((column) => column !== null);
  return /** @type {Column[]} */ (columns).slice(0, MAX_COLUMNS);
}

/** The chosen columns: of the URL, or those that this browser keeps, or the usual ones. @param {State} state @returns {Column[]} */
export function chosenColumns(state) {
  const shared = columnsOf((state.params.get("columns") ?? "").split(",").map(unescaped));
  if (shared.length > 0) return shared;
  const kept = columnsOf(readJson("columns", isTexts, usual()));
  return kept.length > 0 ? kept : columnsOf(usual());
}

/** @param {Column[]} columns @returns {string | null} the value of the URL; null for the usual columns */
export function keepColumns(columns) {
  const ids = columns.map((column) => column.id);
  const isDefault = ids.join() === usual().join();
  writePreference("columns", isDefault ? null : JSON.stringify(ids));
  return isDefault ? null : ids.map((id) => id.replace(/[%,]/g, encodeURIComponent)).join(",");
}

/** @param {string} id */
function unescaped(id) {
  try {
    return decodeURIComponent(id);
  } catch {
    return "";
  }
}

export const defaultColumns = () => columnsOf(usual());
/** @param {string} path */
export const columnOfMetadata = (path) => columnOf(MEMBER + path);

/** The members that the columns need, which is what the server is asked for. @param {Column[]} columns @param {string[]} [more] @returns {string} */
export function fieldsOf(columns, more = []) {
  return [...new Set(["_id", ...columns.flatMap((column) => column.fields), ...more])].join(",");
}

/** @param {Ctx} ctx @param {Column} column */
export const columnLabel = ({ t }, column) => (column.id.startsWith(MEMBER) ? column.id.slice(MEMBER.length) : t(`calls.column.${column.id}`));

/** @param {State} state @returns {"compact" | "comfortable"} */
export function densityOf(state) {
  const density = state.params.get("density") ?? readJson("density", isDensity, "comfortable");
  return density === "compact" ? "compact" : "comfortable";
}

/** @param {unknown} value @returns {value is string} */
function isDensity(value) {
  return value === "compact" || value === "comfortable";
}
