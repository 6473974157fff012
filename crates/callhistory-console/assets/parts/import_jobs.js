// The imports of the page: one file after the other, so that a large one does not delay itself.

import { ApiError, isAborted } from "../api.js";
import { isKnownImport } from "./import_report.js";

/** Media types by the end of a name. */
const FORMATS = /** @type {Record<string, string>} */ ({
  csv: "text/csv",
  json: "application/json",
  jsonl: "application/x-ndjson",
  ndjson: "application/x-ndjson",
});

/**
 * @typedef {{ mode: string, handling: string, format: string, isAtomic: boolean, isForeign: boolean }} ImportOptions
 * @typedef {{ file: File, workspace: string, options: ImportOptions, state: "waiting" | "sending" | "done" | "failed" | "stopped", sent: number,
 *   report: any, error: unknown, stop: AbortController }} ImportJob
 */

/**
 * What a name says of its file.
 * @param {string} name such as calls.csv.gz
 * @returns {{ mediaType: string, isGzip: boolean }} an empty media type if it says nothing
 */
export function formatOf(name) {
  const lower = name.toLowerCase();
  const isGzip = lower.endsWith(".gz");
  const ending = (isGzip ? lower.slice(0, -3) : lower).split(".").pop() ?? "";
  return { mediaType: FORMATS[ending] ?? "", isGzip };
}

export class ImportJobs {
  /** @type {ImportJob[]} */
  jobs = [];
  #isRunning = false;

  /** @returns {boolean} whether a file is being sent */
  get isBusy() {
    return this.#isRunning;
  }

  /**
   * @param {Ctx} ctx
   * @param {File[]} files
   * @param {ImportOptions} options
   */
  add(ctx, files, options) {
    for (const file of files) {
      this.jobs.push({ file, workspace: ctx.state.workspace, options, state: "waiting", sent: 0, report: null, error: null, stop: new AbortController() });
    }
    void this.#run(ctx);
  }

  /** Stops what is not done. */
  stop() {
    for (const job of this.jobs) job.stop.abort();
  }

  /** Forgets what is done. */
  clear() {
    this.jobs = this.jobs.filter((job) => job.state === "waiting" || job.state === "sending");
  }

  /** @param {Ctx} ctx */
  async #run(ctx) {
    if (this.#isRunning) return;
    this.#isRunning = true;
    addEventListener("beforeunload", confirmLeaving);
    for (let job = this.#next(); job !== undefined; job = this.#next()) {
      await send(ctx, job);
      ctx.announce(ctx.t(`operate.import.${job.state}`, { name: job.file.name }));
      ctx.update();
    }
    this.#isRunning = false;
    removeEventListener("beforeunload", confirmLeaving);
    ctx.update();
  }

  #next() {
    return this.jobs.find((job) => job.state === "waiting");
  }
}

/** A page that is closed aborts its imports, so the browser asks first. @param {BeforeUnloadEvent} event */
function confirmLeaving(event) {
  event.preventDefault();
}

/**
 * @param {Ctx} ctx
 * @param {ImportJob} job
 */
async function send(ctx, job) {
  const { file, options, stop } = job;
  if (stop.signal.aborted) {
    job.state = "stopped";
    return;
  }
  const { mediaType, isGzip } = formatOf(file.name);
  // The workspace that it was chosen for: the page may show another one when its turn comes.
  /** @type {Record<string, string>} */
  const headers = { "x-workspace-id": job.workspace, "content-type": options.format || mediaType || "application/json", prefer: `handling=${options.handling}` };
  if (isGzip) headers["content-encoding"] = "gzip";
  job.state = "sending";
  ctx.update();
  try {
    const params = { mode: options.mode, atomic: options.isAtomic || null, source: options.isForeign ? "generic" : null };
    const response = await ctx.api.upload("batch", params, file, {
      headers,
      signal: stop.signal,
      onProgress: (sent) => { job.sent = sent; ctx.update(); },
    });
    if (!isKnownImport(response.body)) throw await ctx.api.refusal(asResponse(response));
    [job.report, job.state] = [response.body, "done"];
  } catch (error) {
    [job.error, job.state] = isAborted(error) ? [null, "stopped"] : [error, "failed"];
    if (error instanceof ApiError && error.status === 401) stop.abort();
  }
}

/** @param {ApiResponse} response */
function asResponse({ body, headers, status }) {
  return new Response(typeof body === "string" ? body : JSON.stringify(body), { headers, status });
}
