// The transcript: turns by role, tool calls inside, times that seek, the current turn marked while a recording plays.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { guard } from "../vendor/lit-html/directives/guard.js";
import { turnAt } from "./call_record.js";
import { matchesOf, pieces } from "./highlight.js";
import { prettyJson } from "./json.js";

/** @typedef {import("./call_record.js").Turn} Turn */
/** @typedef {import("./call_record.js").ToolCall} ToolCall */

/** Turns that the page opens with, and that each step adds. A step is one piece of the page that is drawn once. */
const STEP = 200;
/** Longer arguments and results begin short. */
const LONG_VALUE = 4000;

/** Asks for more turns when it comes near the view. */
class SightMark extends HTMLElement {
  /** @type {(() => void) | null} */
  onsight = null;
  /** @type {IntersectionObserver | null} */
  #observer = null;

  connectedCallback() {
    this.#observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) this.onsight?.();
    }, { rootMargin: "1500px" });
    this.#observer.observe(this);
  }

  disconnectedCallback() {
    this.#observer?.disconnect();
  }

  /** Looks again: what was in view and still is causes no new event. */
  again() {
    this.#observer?.unobserve(this);
    this.#observer?.observe(this);
  }
}
if (customElements.get("sight-mark") === undefined) customElements.define("sight-mark", SightMark);

/** What the transcript of one call shows at the moment. */
export class TranscriptState {
  /**
   * @param {Turn[]} turns
   * @param {string[]} terms of the search that led here
   * @param {() => void} update
   */
  constructor(turns, terms, update) {
    this.turns = turns;
    this.terms = terms;
    this.update = update;
    this.limit = STEP;
    this.isFollowing = true;
    this.timed = turns.filter((turn) => turn.time !== null).sort((a, b) => (a.time ?? 0) - (b.time ?? 0));
    this.hits = terms.length === 0 ? [] : turns.filter((turn) => matchesOf(searched(turn), terms).length > 0).map((turn) => turn.index);
    this.hit = -1;
    /** @type {number | null} */
    this.current = null;
    /** @type {Set<string>} */
    this.shownInFull = new Set();
    /** Whether long values are shown in full. */
    this.isWhole = false;
    this.expansions = 0;
  }

  more() {
    if (this.limit >= this.turns.length) return;
    this.limit += STEP;
    this.update();
    requestAnimationFrame(() => requestAnimationFrame(() => {
      const mark = document.querySelector("sight-mark");
      if (mark instanceof SightMark) mark.again();
    }));
  }

  /**
   * Draws the transcript as far as a turn, and then brings it into view.
   * @param {number} index @param {ScrollLogicalPosition} block @param {() => void} [then]
   */
  reveal(index, block = "center", then) {
    while (this.limit <= index) this.limit += STEP;
    this.update();
    requestAnimationFrame(() => requestAnimationFrame(() => {
      then?.();
      document.getElementById(`turn-${index}`)?.scrollIntoView({ block });
    }));
  }

  /** @param {number} step */
  toHit(step) {
    if (this.hits.length === 0) return;
    this.hit = (this.hit + step + this.hits.length) % this.hits.length;
    this.show(this.hits[this.hit] ?? 0);
  }

  /** Brings a turn into view and marks it. @param {number} turn */
  show(turn) {
    this.hit = this.hits.indexOf(turn);
    this.reveal(turn, "center", () => this.mark("data-hit", turn));
  }

  /** The recording is at a time. Only the marked turns change, not the whole page. @param {number} seconds */
  playAt(seconds) {
    const turn = turnAt(this.timed, seconds)?.index ?? null;
    if (turn === this.current) return;
    this.current = turn;
    this.mark("data-current", turn);
    if (turn !== null && this.isFollowing) {
      if (turn >= this.limit) this.reveal(turn, "nearest", () => this.mark("data-current", this.current));
      else document.getElementById(`turn-${turn}`)?.scrollIntoView({ block: "nearest" });
    }
  }

  /** Takes the turns of a later version of the record; what is drawn and open stays. @param {Turn[]} turns */
  renew(turns) {
    const next = new TranscriptState(turns, this.terms, this.update);
    [this.turns, this.timed, this.hits] = [turns, next.timed, next.hits];
    this.expansions += 1;
  }

  /** Shows all of it, for printing. */
  showAll() {
    this.limit = Math.max(this.limit, this.turns.length);
    this.isWhole = true;
    this.expansions += 1;
  }

  /** @param {string} name @param {number | null} index */
  mark(name, index) {
    for (const element of document.querySelectorAll(`.turn[${name}]`)) {
      element.removeAttribute(name);
      if (name === "data-current") element.removeAttribute("aria-current");
    }
    const element = index === null ? null : document.getElementById(`turn-${index}`);
    element?.setAttribute(name, "");
    if (name === "data-current") element?.setAttribute("aria-current", "true");
  }

  /** @param {string} key */
  showInFull(key) {
    this.shownInFull.add(key);
    this.expansions += 1;
    this.update();
  }
}

/** The text of a turn that a search looks through. @param {Turn} turn */
const searched = (turn) => [turn.text, ...turn.tools.map((tool) => `${tool.name} ${valueText(tool.args)} ${valueText(tool.result)}`)].join("\n");

/** @param {any} value */
const valueText = (value) => (value === undefined ? "" : typeof value === "string" ? value : prettyJson(value));

/** @param {string} text @param {string[]} terms @returns {any} */
export function marked(text, terms) {
  if (terms.length === 0) return text;
  return pieces(text, terms).map((piece) => (piece.isMatch ? html`<mark>${piece.text}</mark>` : piece.text));
}

/**
 * @param {Ctx} ctx @param {string} label @param {any} value @param {TranscriptState} state @param {string} key
 * @returns {Template}
 */
function toolValue(ctx, label, value, state, key) {
  if (value === undefined) return nothing;
  const text = valueText(value);
  const isCut = text.length > LONG_VALUE && !state.isWhole && !state.shownInFull.has(key);
  return html`<div class="tool-value"><span class="tool-label">${label}</span>
    <pre tabindex="0" dir="auto" aria-label=${label}>${marked(isCut ? `${text.slice(0, LONG_VALUE)}…` : text, state.terms)}</pre>
    ${isCut ? html`<button class="link-button" type="button" @click=${() => state.showInFull(key)}>${ctx.t("call.show-all")}</button>` : nothing}</div>`;
}

/**
 * @param {Ctx} ctx @param {ToolCall} tool @param {TranscriptState} state @param {string} key
 * @returns {Template}
 */
export function toolView(ctx, tool, state, key) {
  const { t } = ctx;
  return html`<details class="tool" open><summary><span class="tool-mark" aria-hidden="true">ƒ</span> <span dir="auto">${
    tool.name === "" ? t("call.tool-unnamed") : marked(tool.name, state.terms)}</span>${
    tool.time === null ? nothing : html` <span class="muted">${ctx.format.duration(Math.floor(tool.time))}</span>`}</summary>
    ${toolValue(ctx, t("call.arguments"), tool.args, state, `${key}-arguments`)}
    ${toolValue(ctx, t("call.result"), tool.result, state, `${key}-result`)}
  </details>`;
}

/**
 * @param {Ctx} ctx @param {Turn} turn @param {TranscriptState} state
 * @param {import("./call_player.js").Player} player
 */
function turnView(ctx, turn, state, player) {
  const { t, format } = ctx;
  const time = turn.time === null ? null : format.duration(Math.floor(turn.time));
  const role = t(`call.role.${turn.kind}`);
  const isNamed = turn.kind === "other" && turn.role !== "";
  return html`<li id=${`turn-${turn.index}`} class=${`turn turn-${turn.kind}`}>
    <div class="turn-head"><span class="turn-role" title=${turn.role} dir="auto">${isNamed ? turn.role : role}</span>${
      time === null ? nothing : player.isReady
        ? html`<button class="turn-time" type="button" aria-label=${t("call.seek", { time })} @click=${() => player.seek(turn.time ?? 0)}>${time}</button>`
        : html`<span class="turn-time">${time}</span>`}</div>
    ${turn.text === "" ? nothing : html`<div class="turn-text" dir="auto">${marked(turn.text, state.terms)}</div>`}
    ${turn.tools.map((tool, index) => toolView(ctx, tool, state, `${turn.index}-${index}`))}
  </li>`;
}

/** @param {Ctx} ctx @param {TranscriptState} state @param {import("./call_player.js").Player} player */
function toolbar(ctx, state, player) {
  const { t } = ctx;
  const { hits } = state;
  if (state.terms.length === 0 && !(player.isReady && state.timed.length > 0)) return nothing;
  return html`<div class="transcript-bar">
    ${state.terms.length === 0 ? nothing : html`<span role="status">${t("call.hits", { count: hits.length })}</span>
      <button class="button" type="button" ?disabled=${hits.length === 0} @click=${() => state.toHit(-1)}>${t("call.hit-before")}</button>
      <button class="button" type="button" ?disabled=${hits.length === 0} @click=${() => state.toHit(1)}>${t("call.hit-next")}</button>`}
    ${player.isReady && state.timed.length > 0 ? html`<label class="transcript-follow"><input type="checkbox" .checked=${state.isFollowing}
      @change=${(/** @type {Event} */ event) => { state.isFollowing = /** @type {HTMLInputElement} */ (event.currentTarget).checked; }}> ${t("call.follow")}</label>` : nothing}
  </div>`;
}

/**
 * @param {Ctx} ctx @param {TranscriptState} state
 * @param {import("./call_player.js").Player} player
 * @param {Template} recording
 * @returns {Template}
 */
export function transcriptView(ctx, state, player, recording) {
  const { t } = ctx;
  const { turns } = state;
  const steps = Math.ceil(Math.min(state.limit, turns.length) / STEP);
  const rest = turns.length - steps * STEP;
  const inputs = [player.isReady, state.expansions, ctx.format, ctx.t, state];
  return html`<section class="card call-panel call-transcript" aria-labelledby="transcript-title">
    <h2 id="transcript-title">${t("call.transcript")} <span class="muted">${t("call.turns", { count: turns.length })}</span></h2>
    <div class="transcript-dock">${recording}${turns.length === 0 ? nothing : toolbar(ctx, state, player)}</div>
    ${turns.length === 0 ? html`<p class="muted">${t("call.no-transcript")}</p>` : nothing}
    ${Array.from({ length: steps }, (_, step) => html`<ol class="turns" start=${step * STEP + 1}>${guard([step, ...inputs], () =>
      turns.slice(step * STEP, (step + 1) * STEP).map((turn) => turnView(ctx, turn, state, player)))}</ol>`)}
    ${rest > 0 ? html`<sight-mark .onsight=${() => state.more()}></sight-mark>
      <button class="button" type="button" @click=${() => state.more()}>${t("call.more-turns", { count: rest })}</button>` : nothing}
  </section>`;
}
