// A call that goes on: its record is asked for again, with its entity tag, until the call is over.

import { ApiError, isAborted, urlOf } from "../api.js";
import { outcomeOf } from "./outcome.js";

/** Milliseconds between two requests: the first number after a change, longer while nothing changes. */
const [SHORTEST, LONGEST] = [2000, 30_000];

/** @param {string} status @returns {boolean} whether the record is not the last one */
export const goesOn = (status) => outcomeOf(status) === "live";

export class Watch {
  /**
   * @param {Ctx} ctx
   * @param {string} tag the entity tag of the record that is shown
   * @param {{ take: (text: string) => boolean, fail: (error: unknown) => void }} page `take` returns whether the call goes on
   */
  constructor(ctx, tag, page) {
    this.ctx = ctx;
    this.tag = tag;
    this.page = page;
    this.wait = SHORTEST;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.isAsking = false;
    this.stopped = new AbortController();
    this.signal = AbortSignal.any([ctx.signal, this.stopped.signal]);
    this.signal.addEventListener("abort", () => clearTimeout(this.timer), { once: true });
    // Nobody looks at a hidden page; one that is seen again is brought up to date.
    document.addEventListener("visibilitychange", () => this.plan(0), { signal: this.signal });
    this.plan(this.wait);
  }

  /** @param {number} wait milliseconds */
  plan(wait) {
    clearTimeout(this.timer);
    if (this.signal.aborted || document.hidden || this.isAsking) return;
    this.timer = setTimeout(() => void this.ask(), wait);
  }

  async ask() {
    const { ctx } = this;
    this.isAsking = true;
    this.wait = Math.min(this.wait * 1.5, LONGEST);
    try {
      const headers = { "if-none-match": this.tag };
      const response = await ctx.api.fetch(urlOf(encodeURIComponent(ctx.state.id)), { signal: this.signal, headers });
      if (response.status !== 304) this.take(response.headers.get("etag") ?? "", await response.text());
    } catch (error) {
      if (isAborted(error)) return;
      // The call was deleted, or the key has ended. Everything else may be better the next time.
      if (error instanceof ApiError && error.status < 500 && error.status !== 429) this.fail(error);
      else this.wait = Math.min(Math.max(this.wait, error instanceof ApiError ? error.retryAfter * 1000 : 0), LONGEST);
    } finally {
      this.isAsking = false;
      this.plan(this.wait);
    }
  }

  /** @param {string} tag @param {string} text */
  take(tag, text) {
    if (this.signal.aborted) return;
    const isLive = this.page.take(text);
    // Only now: a record that cannot be read is asked for again.
    [this.tag, this.wait] = [tag, SHORTEST];
    if (!isLive) this.stop();
  }

  /** @param {ApiError} error */
  fail(error) {
    this.stop();
    this.page.fail(error);
  }

  stop() {
    this.stopped.abort();
  }
}
