// The head of the call page: what identifies the call, and what it came to.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { serialize } from "../url_state.js";
import { copyButton } from "./call_copy.js";
import { decimal } from "./decimal.js";
import { isObject, isScalar, JsonNumber, member, prettyJson, scalarText } from "./json.js";
import { durationOf, momentOf, textOf } from "./call_record.js";
import { outcomeOf } from "./outcome.js";

/** The colours of an outcome; the chip has its words as well. @type {Record<string, string>} */
const CHIPS = { completed: "chip-ok", voicemail: "chip-accent", live: "chip-accent", failed: "chip-error", unknown: "" };

/** @param {Ctx} ctx @param {string} status @returns {Template} */
export function statusChip({ t }, status) {
  const outcome = outcomeOf(status);
  const name = t(`call.outcome.${outcome}`);
  const isSame = status.replace(/[_\-\s]/gu, "").toLowerCase() === outcome.replace("-", "");
  return html`<span class=${`chip call-chip ${CHIPS[outcome] ?? "chip-warn"}`}><span dir="auto">${status === "" ? name : status}</span>${
    isSame || status === "" ? nothing : html`<span class="call-chip-outcome">· ${name}</span>`}</span>`;
}

/** The filters that the list gets from a fact: this one alone. @param {Ctx} ctx @param {string} name @param {string} value */
function listOf({ state }, name, value) {
  // The set syntax of the API: a backslash makes its signs literal.
  const literal = value.replace(/[\\,]/g, "\\$&").replace(/^!/, "\\!").replace(/\*$/, "\\*");
  return serialize({ page: "calls", id: "", workspace: state.workspace, params: new Map([[name, literal]]) });
}

/**
 * @param {Ctx} ctx
 * @param {string} key of the label
 * @param {string} text as it was sent
 * @param {{ shown?: unknown, filter?: string, isCopied?: boolean }} [options]
 */
function fact(ctx, key, text, { shown, filter, isCopied = true } = {}) {
  if (text === "") return nothing;
  const label = ctx.t(key);
  const value = shown ?? html`<span dir="auto">${text}</span>`;
  return html`<div class="call-fact"><dt>${label}</dt><dd><span>${
    filter === undefined || text.startsWith("**") ? value : html`<a href=${listOf(ctx, filter, text)} title=${ctx.t("call.same-filter")}>${value}</a>`}</span>${
    isCopied ? copyButton(ctx, () => text, label) : nothing}</dd></div>`;
}

/** @param {Ctx} ctx @param {unknown} record @param {string} name */
function moment(ctx, record, name) {
  const text = textOf(record, name);
  const time = momentOf(record, name);
  if (text === "" || time === null) return fact(ctx, `call.${name}`, text);
  const shown = html`<time datetime=${new Date(time).toISOString()} title=${text}>${ctx.format.dateTime(time / 1000)}</time>`;
  return fact(ctx, `call.${name}`, text, { shown });
}

/** An amount with every digit that was sent. @param {Ctx} ctx @param {string} text @param {string} currency */
export function exactMoney({ format }, text, currency) {
  // Exponents and amounts beyond reason are shown as they were sent.
  return /^-?\d+(?:\.\d+)?$/.test(text) ? format.money(text, currency === "" ? undefined : currency) : `${text} ${currency}`.trim();
}

/** @param {Ctx} ctx @param {unknown} record */
function durationFact(ctx, record) {
  const duration = durationOf(record);
  if (duration === null) return nothing;
  const shown = html`<span title=${`${duration.text} s`}>${ctx.format.duration(duration.text)}</span>${
    duration.isDerived ? html` <span class="muted">${ctx.t("call.derived")}</span>` : nothing}`;
  return fact(ctx, "call.duration", duration.text, { shown });
}

/** How long it rang: from the start to the answer. @param {Ctx} ctx @param {unknown} record */
function ringFact(ctx, record) {
  const [start, answered] = [momentOf(record, "startTime"), momentOf(record, "answeredAt")];
  if (start === null || answered === null || answered < start) return nothing;
  return fact(ctx, "call.wait", ctx.format.duration((answered - start) / 1000), { isCopied: false });
}

/** @param {Ctx} ctx @param {unknown} record @returns {any} */
function costFact(ctx, record) {
  const cost = member(record, "cost");
  const charge = textOf(cost, "customer_charge");
  return charge === "" ? nothing : fact(ctx, "call.cost", charge, { shown: exactMoney(ctx, charge, textOf(cost, "currency")) });
}

/** A label that belongs to an ID: the label leads, the ID is copied. @param {Ctx} ctx @param {unknown} record @param {string} id @param {string} name */
function named(ctx, record, id, name) {
  const [key, label] = [textOf(record, id), textOf(record, name)];
  if (key === "") return fact(ctx, `call.${id}`, label);
  const shown = label === "" ? undefined : html`<span dir="auto">${label}</span> <code dir="auto">${key}</code>`;
  return fact(ctx, `call.${id}`, key, { shown, filter: id });
}

/**
 * @param {Ctx} ctx
 * @param {import("./json.js").JsonObject} record
 * @returns {Template}
 */
export function callFacts(ctx, record) {
  const text = (/** @type {string} */ name) => textOf(record, name);
  return html`<dl class="call-facts">
    ${fact(ctx, "call.id", text("_id"))}
    ${fact(ctx, "call.callId", text("callId"))}
    ${fact(ctx, "call.fromPhoneNumber", text("fromPhoneNumber"), { filter: "phoneNumber" })}
    ${fact(ctx, "call.toPhoneNumber", text("toPhoneNumber"), { filter: "phoneNumber" })}
    ${named(ctx, record, "agentId", "agent")}
    ${named(ctx, record, "callFlowId", "callFlowName")}
    ${fact(ctx, "call.direction", text("direction"), { filter: "direction", isCopied: false })}
    ${fact(ctx, "call.callType", text("callType"), { filter: "callType", isCopied: false })}
    ${fact(ctx, "call.batchId", text("batchId"), { filter: "batchId" })}
    ${fact(ctx, "call.roomName", text("roomName"))}
    ${moment(ctx, record, "startTime")}
    ${moment(ctx, record, "answeredAt")}
    ${moment(ctx, record, "endTime")}
    ${durationFact(ctx, record)}
    ${ringFact(ctx, record)}
    ${costFact(ctx, record)}
    <div class="call-fact"><dt>${ctx.t("call.zone")}</dt><dd>${ctx.format.timeZone}</dd></div>
  </dl>`;
}

/** The parts of the cost, as they were sent. @param {Ctx} ctx @param {import("./json.js").JsonObject} record */
export function costParts(ctx, record) {
  const cost = member(record, "cost");
  if (!isObject(cost) || cost.size === 0) return nothing;
  const { t } = ctx;
  const currency = textOf(cost, "currency");
  const isAmount = (/** @type {unknown} */ value) => value instanceof JsonNumber && decimal(value.text) !== null;
  const members = [...cost].filter(([name]) => name !== "currency");
  const [parts, others] = [members.filter(([, value]) => isAmount(value)), members.filter(([, value]) => !isAmount(value))];
  return html`<section class="card call-panel"><h2>${t("call.cost")}</h2>
    <table class="call-cost"><thead><tr><th scope="col">${t("call.cost-part")}</th><th scope="col" class="number">${t("call.amount")}</th></tr></thead>
      <tbody>${[...parts, ...others].map(([name, value]) => html`<tr class=${name === "customer_charge" ? "call-cost-total" : ""}>
        <th scope="row" dir="auto">${name}</th><td class="number">${value instanceof JsonNumber ? exactMoney(ctx, value.text, currency) : isScalar(value) ? scalarText(value) : prettyJson(value)}</td></tr>`)}
      </tbody></table>
    ${currency === "" ? nothing : html`<p class="muted">${t("call.currency")} <span dir="auto">${currency}</span></p>`}
  </section>`;
}
