// Follows the changes of the workspace. An event only says that the list may be another one: the first page is loaded again,
// under its filter, at most once a second however many events there are.

import { ApiError, isAborted } from "../api.js";

const INTERVAL = 1000;

/** @typedef {"off" | "live" | "waiting" | "paused" | "failed"} FollowState */

export class Follow {
  /**
   * @param {{ refresh: (deleted: Set<string>, signal: AbortSignal) => Promise<void>, update: () => void }} list
   */
  constructor(list) {
    this.list = list;
    /** @type {FollowState} */
    this.state = "off";
    /** @type {unknown} */
    this.error = null;
    /** The cursor of the last event, with which a stream resumes. */
    this.last = "";
    this.isDirty = false;
    /** Calls that were created since the list was loaded, whether or not they match its filter. */
    this.created = 0;
    /** @type {Set<string>} */
    this.deleted = new Set();
    this.refreshed = 0;
    /** @type {ReturnType<typeof setTimeout> | null} */
    this.timer = null;
    this.isRefreshing = false;
    /** @type {AbortController | null} */
    this.stream = null;
    this.onVisible = () => this.plan();
  }

  /** @param {Ctx} ctx */
  async start(ctx) {
    this.stream?.abort();
    const stream = (this.stream = new AbortController());
    const signal = AbortSignal.any([stream.signal, ctx.signal]);
    document.addEventListener("visibilitychange", this.onVisible, { signal });
    [this.state, this.error] = ["waiting", null];
    this.list.update();
    try {
      await ctx.api.stream("changes", { cursor: "latest" }, {
        signal,
        lastEventId: this.last,
        onEvent: (event) => this.take(event),
        onState: (state) => this.connected(state === "open"),
      });
    } catch (error) {
      if (signal.aborted || isAborted(error)) return;
      const isExpired = error instanceof ApiError && error.status === 410 && this.last !== "";
      [this.last, this.state, this.error] = ["", "failed", error];
      // The database was restored: the stream begins at its end, and the list is loaded as it is now.
      if (isExpired) await this.start(ctx);
      else this.list.update();
    }
  }

  /** @param {boolean} isOpen */
  connected(isOpen) {
    this.state = isOpen ? "live" : "waiting";
    // What changed between the list and the stream, or while there was no stream.
    if (isOpen) this.isDirty = true;
    this.plan();
    this.list.update();
  }

  /** Little work, because there may be thousands at once. @param {StreamEvent} event */
  take(event) {
    if (event.id !== undefined) this.last = event.id;
    if (event.type === "created") this.created += 1;
    if (event.type === "deleted") this.takeDeletion(event.data);
    this.isDirty = true;
    this.plan();
  }

  /** @param {string} data */
  takeDeletion(data) {
    try {
      const id = JSON.parse(data)._id;
      if (typeof id === "string" && this.deleted.size < 10_000) this.deleted.add(id);
    } catch {
      // The fresh page shows it as well.
    }
  }

  /** Plans one refresh, at the end of the interval since the last one. Nobody looks at a hidden page. */
  plan() {
    if (!this.isDirty || this.timer !== null || this.isRefreshing || document.hidden) return;
    if (this.state !== "live" && this.state !== "waiting") return;
    this.timer = setTimeout(() => {
      this.timer = null;
      void this.refresh();
    }, Math.max(0, this.refreshed + INTERVAL - performance.now()));
  }

  async refresh() {
    const stream = this.stream;
    if (stream === null || stream.signal.aborted) return;
    [this.isDirty, this.isRefreshing] = [false, true];
    try {
      await this.list.refresh(this.deleted, stream.signal);
    } finally {
      [this.isRefreshing, this.refreshed] = [false, performance.now()];
      this.plan();
    }
  }

  /** @param {FollowState} state */
  stop(state = "off") {
    this.stream?.abort();
    this.stream = null;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    [this.state, this.isDirty] = [state, false];
    if (state === "off") this.last = "";
    this.list.update();
  }
}
