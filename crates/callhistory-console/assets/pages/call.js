// One call: facts, recording and transcript, analysis, cost, timeline, originals, the record as it is.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ApiError, isAborted, urlOf } from "../api.js";
import { serialize, withPage } from "../url_state.js";
import { functionCallsOf, textOf, turnAt, turnsOf } from "../parts/call_record.js";
import { callFacts, costParts, statusChip } from "../parts/call_facts.js";
import { codeView, permalink, RawState, rawView } from "../parts/call_code.js";
import { neighborsOf } from "../parts/call_neighbors.js";
import { OriginalsState, originalsView } from "../parts/call_originals.js";
import { Player, playerView } from "../parts/call_player.js";
import { timelineView } from "../parts/call_timeline.js";
import { marked, toolView, TranscriptState, transcriptView } from "../parts/call_transcript.js";
import { copyButton } from "../parts/call_copy.js";
import { termsOf } from "../parts/highlight.js";
import { isObject, parseJson } from "../parts/json.js";
import { jsonTree, TreeState } from "../parts/json_tree.js";
import { goesOn, Watch } from "../parts/call_watch.js";
import { emptyState, errorState, loadingState } from "../parts/states.js";

/** Members with a place of their own on the page; every other one is under "Further members". */
const PLACED = new Set([
  "_id", "workspaceId", "agentId", "callFlowId", "roomName", "direction", "fromPhoneNumber", "toPhoneNumber", "status", "startTime",
  "endTime", "cost", "metadata", "functionCalls", "summary", "analyzedData", "createdAt", "updatedAt", "callId", "batchId", "callType",
  "agent", "callFlowName", "duration", "answeredAt", "recordingUrl", "variables", "transcript",
]);
const FREE_FORM = ["analyzedData", "metadata", "variables"];

/** @param {Ctx} ctx @param {string} name of a parameter @returns {number | null} */
function numberOf({ state }, name) {
  const value = Number(state.params.get(name) ?? NaN);
  return Number.isFinite(value) && value >= 0 ? value : null;
}

/** A visit of the page. */
class Visit {
  /** @param {Ctx} ctx */
  constructor(ctx) {
    this.ctx = ctx;
    /** @type {import("../parts/json.js").JsonObject | null} */
    this.record = null;
    /** @type {unknown} */
    this.failure = null;
    /** @type {import("../parts/call_neighbors.js").Neighbors | null} */
    this.neighbors = null;
    this.originals = new OriginalsState(ctx);
    const update = () => ctx.update();
    this.player = new Player(update, (seconds) => this.transcript.playAt(seconds), numberOf(ctx, "at") ?? 0);
    this.transcript = new TranscriptState([], [], update);
    this.raw = new RawState("", update);
    this.tree = new TreeState(update);
    /** @type {import("../parts/call_record.js").ToolCall[]} */
    this.tools = [];
    /** @type {Watch | null} while the call goes on */
    this.watch = null;
    this.stopped = new AbortController();
    addEventListener("beforeprint", () => this.print(), { signal: AbortSignal.any([ctx.signal, this.stopped.signal]) });
  }

  async load() {
    const { ctx } = this;
    try {
      // A page that was ended while it loaded must not begin to follow.
      const signal = AbortSignal.any([ctx.signal, this.stopped.signal]);
      const response = await ctx.api.fetch(urlOf(encodeURIComponent(ctx.state.id)), { signal });
      this.show(await response.text());
      if (goesOn(textOf(this.record, "status"))) this.follow(response.headers.get("etag") ?? "");
    } catch (error) {
      if (isAborted(error)) return;
      this.failure = error;
    }
    ctx.update();
    if (this.record === null) return;
    void this.originals.load();
    await this.loadNeighbors();
  }

  /** @param {string} text of the record */
  show(text) {
    const { ctx } = this;
    const record = parseJson(text);
    if (!isObject(record)) throw new TypeError("the record is no object");
    const update = () => ctx.update();
    [this.record, this.failure] = [record, null];
    this.raw = new RawState(text, update);
    this.tools = functionCallsOf(record);
    this.transcript = new TranscriptState(turnsOf(record), termsOf(ctx.state.params.get("q") ?? ""), update);
    const at = numberOf(ctx, "at");
    const turn = numberOf(ctx, "turn") ?? (at === null ? null : turnAt(this.transcript.timed, at)?.index ?? null);
    if (turn !== null && turn < this.transcript.turns.length) this.transcript.show(turn);
    else if (this.transcript.hits.length > 0) this.transcript.toHit(1);
  }

  /** @param {string} tag of the record that is shown */
  follow(tag) {
    this.watch = new Watch(this.ctx, tag, {
      take: (text) => this.renew(text),
      fail: (error) => {
        [this.failure, this.watch] = [error, null];
        this.ctx.update();
      },
    });
  }

  /** Takes a later version of the record; what is open and where the page is stays. @param {string} text @returns {boolean} whether the call goes on */
  renew(text) {
    const { ctx } = this;
    const record = parseJson(text);
    if (!isObject(record)) return true;
    const status = textOf(record, "status");
    this.record = record;
    this.raw.renew(text);
    this.tools = functionCallsOf(record);
    this.transcript.renew(turnsOf(record));
    void this.originals.load();
    ctx.announce(ctx.t(goesOn(status) ? "call.renewed" : "call.over", { status, count: this.transcript.turns.length }));
    if (!goesOn(status)) this.watch = null;
    ctx.update();
    return goesOn(status);
  }

  /** The browser prints what is drawn when this returns. */
  print() {
    this.transcript.showAll();
    this.ctx.draw();
  }

  end() {
    this.watch?.stop();
    this.stopped.abort();
  }

  async loadNeighbors() {
    try {
      this.neighbors = await neighborsOf(this.ctx, /** @type {any} */ (this.record));
    } catch (error) {
      if (isAborted(error)) return;
      // The call itself is shown; without its list there is nothing to go to.
      this.neighbors = { previous: null, next: null };
    }
    this.ctx.update();
  }

  /** @param {"previous" | "next"} side @returns {string | null} */
  hashOf(side) {
    const id = this.neighbors?.[side] ?? null;
    if (id === null) return null;
    const params = new Map([...this.ctx.state.params].filter(([name]) => name !== "turn" && name !== "at"));
    return serialize({ ...this.ctx.state, id, params });
  }
}

/** @type {Visit | null} */
let visit = null;

/** @param {Ctx} ctx */
const listHash = (ctx) => serialize(withPage(ctx.state, "calls"));

/** @param {Ctx} ctx @param {Visit} now */
function steps(ctx, now) {
  const { t } = ctx;
  const step = (/** @type {"previous" | "next"} */ side, /** @type {string} */ sign) => {
    const hash = now.hashOf(side);
    const label = t(`call.${side}`);
    return hash === null
      ? html`<span class="button call-step-off" aria-hidden="true">${sign}</span>`
      : html`<a class="button" href=${hash} aria-label=${label} title=${label}>${sign}</a>`;
  };
  return html`<nav class="call-steps" aria-label=${t("call.steps")} ?data-ready=${now.neighbors !== null}>
    <a class="button" href=${listHash(ctx)}>${t("call.to-list")}</a>${step("previous", "↑")}${step("next", "↓")}</nav>`;
}

/** @param {Ctx} ctx @param {Visit} now @param {import("../parts/json.js").JsonObject} record */
function head(ctx, now, record) {
  const { t } = ctx;
  const [from, to] = [textOf(record, "fromPhoneNumber"), textOf(record, "toPhoneNumber")];
  const title = from === "" && to === "" ? html`<bdi>${ctx.state.id}</bdi>` : html`<bdi>${from || "?"}</bdi> → <bdi>${to || "?"}</bdi>`;
  return html`<header class="call-head">
    ${steps(ctx, now)}
    <div class="call-title"><h1>${title}</h1>${statusChip(ctx, textOf(record, "status"))}${
      now.watch === null ? nothing : html`<span class="muted call-watch">${t("call.watched")}</span>`}</div>
    <div class="call-actions">${copyButton(ctx, () => permalink(ctx), t("call.permalink"), t("call.copy-link"))}
      <button class="button" type="button" @click=${() => refresh(ctx)}>${t("call.refresh")}</button></div>
  </header>`;
}

/** @param {Ctx} ctx @param {string} title @param {unknown} content */
const panel = (ctx, title, content) => html`<section class="card call-panel"><h2>${ctx.t(title)}</h2>${content}</section>`;

/** @param {Ctx} ctx @param {Visit} now @param {import("../parts/json.js").JsonObject} record */
function freeForm(ctx, now, record) {
  const others = new Map([...record].filter(([name]) => !PLACED.has(name)));
  return html`${FREE_FORM.map((name) => {
    const value = record.get(name);
    return value === undefined ? nothing : panel(ctx, `call.${name}`, jsonTree(ctx, value, now.tree, name));
  })}${others.size === 0 ? nothing : panel(ctx, "call.further", jsonTree(ctx, others, now.tree, "further"))}`;
}

/** @param {Ctx} ctx @param {Visit} now */
function tools(ctx, now) {
  if (now.tools.length === 0) return nothing;
  return panel(ctx, "call.functionCalls", now.tools.slice(0, 200).map((tool, index) => toolView(ctx, tool, now.transcript, `call-${index}`)));
}

/** @param {Ctx} ctx @param {Visit} now @param {import("../parts/json.js").JsonObject} record @returns {Template} */
function page(ctx, now, record) {
  const summary = textOf(record, "summary");
  return html`<article class="call">
    ${head(ctx, now, record)}
    <div class="call-columns">
      <div class="call-main">
        ${summary === "" ? nothing : panel(ctx, "call.summary", html`<p class="call-summary" dir="auto">${marked(summary, now.transcript.terms)}</p>`)}
        ${tools(ctx, now)}
        ${transcriptView(ctx, now.transcript, now.player, playerView(ctx, textOf(record, "recordingUrl"), now.player))}
      </div>
      <div class="call-side">
        ${panel(ctx, "call.facts", callFacts(ctx, record))}
        ${costParts(ctx, record)}
        ${freeForm(ctx, now, record)}
        ${timelineView(ctx, record, [...now.tools, ...now.transcript.turns.flatMap((turn) => turn.tools.map((tool) => ({ ...tool, time: tool.time ?? turn.time })))])}
        ${originalsView(ctx, now.originals)}
        ${rawView(ctx, now.raw)}
        ${codeView(ctx)}
      </div>
    </div>
  </article>`;
}

/** @param {Ctx} ctx @param {unknown} failure @returns {Template} */
function failed(ctx, failure) {
  const { t, state, session } = ctx;
  if (failure instanceof ApiError && failure.status === 404) {
    return emptyState(t("call.not-found"), t("call.not-found.text", { id: state.id, workspace: session.workspace }),
      html`<a class="button" href=${listHash(ctx)}>${t("call.to-list")}</a>
        <a class="button" href=${serialize({ page: "calls", id: "", workspace: state.workspace, params: new Map([["callIds", JSON.stringify([state.id])]]) })}>${t("call.find-id")}</a>
        <button class="button" type="button" @click=${() => refresh(ctx)}>${t("state.retry")}</button>`);
  }
  return errorState(ctx, failure, () => refresh(ctx));
}

/** @param {Ctx} ctx */
function refresh(ctx) {
  visit?.end();
  visit = new Visit(ctx);
  void visit.load();
  ctx.update();
}

/** @param {"previous" | "next"} side @returns {(ctx: Ctx) => void} */
const go = (side) => (ctx) => {
  const hash = visit?.hashOf(side) ?? null;
  if (hash === null) ctx.announce(ctx.t(`call.no-${side}`));
  else ctx.navigate(hash);
};

/** @type {Page} */
export default {
  title: (ctx) => ctx.t("call.title", { id: ctx.state.id }),
  enter: refresh,
  leave() {
    visit?.end();
    visit = null;
  },
  render(ctx) {
    if (visit === null) return nothing;
    if (visit.failure === null && visit.record !== null) return page(ctx, visit, visit.record);
    return html`<h1 class="visually-hidden">${ctx.t("call.title", { id: ctx.state.id })}</h1>
      ${visit.failure === null ? loadingState(ctx) : failed(ctx, visit.failure)}`;
  },
  keys: {
    j: go("next"),
    k: go("previous"),
    p: () => visit?.player.toggle(),
    n: () => visit?.transcript.toHit(1),
    N: () => visit?.transcript.toHit(-1),
    r: refresh,
    Escape: (ctx) => ctx.navigate(listHash(ctx)),
  },
  help: [["j", "call.next"], ["k", "call.previous"], ["p", "call.help-play"], ["n", "call.hit-next"], ["r", "call.refresh"], ["Esc", "call.to-list"]],
};
