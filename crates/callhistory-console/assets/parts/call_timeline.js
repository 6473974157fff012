// The events of a call in the order of their times.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { momentOf } from "./call_record.js";

/** @typedef {{ key: string, time: number, name: string }} TimelineEvent `time` in milliseconds */

const MOMENTS = ["startTime", "answeredAt", "endTime", "createdAt", "updatedAt"];
/** Further tool calls are in the transcript. */
const MAX_EVENTS = 200;

/**
 * @param {import("./json.js").JsonObject} record
 * @param {import("./call_record.js").ToolCall[]} tools
 * @returns {TimelineEvent[]}
 */
export function eventsOf(record, tools) {
  /** @type {TimelineEvent[]} */
  const events = MOMENTS.flatMap((name) => {
    const time = momentOf(record, name);
    return time === null ? [] : [{ key: `call.event.${name}`, time, name: "" }];
  });
  const start = momentOf(record, "startTime") ?? momentOf(record, "createdAt");
  for (const tool of tools) {
    if (tool.time !== null && start !== null) events.push({ key: "call.event.tool", time: start + tool.time * 1000, name: tool.name });
  }
  return events.sort((a, b) => a.time - b.time).slice(0, MAX_EVENTS);
}

/**
 * @param {Ctx} ctx
 * @param {import("./json.js").JsonObject} record
 * @param {import("./call_record.js").ToolCall[]} tools
 * @returns {Template}
 */
export function timelineView(ctx, record, tools) {
  const { t, format } = ctx;
  const events = eventsOf(record, tools);
  if (events.length === 0) return nothing;
  const start = momentOf(record, "startTime") ?? events[0]?.time ?? 0;
  return html`<section class="card call-panel"><h2>${t("call.timeline")}</h2><ol class="timeline">${events.map((event) => html`
    <li><span class="timeline-name">${t(event.key)}${event.name === "" ? nothing : html` <code dir="auto">${event.name}</code>`}</span>
      <time datetime=${new Date(event.time).toISOString()}>${format.dateTime(event.time / 1000)}</time>
      <span class="muted timeline-offset">${event.time === start ? "" : event.time > start ? `+${format.duration((event.time - start) / 1000)}` : `−${format.duration((start - event.time) / 1000)}`}</span></li>`)}
  </ol></section>`;
}
