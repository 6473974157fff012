// The public API. Nothing else is asked, so the page shows what the key may see.

/** The path in front of every route: empty unless a proxy adds a prefix. */
export const PREFIX = new URL(import.meta.url).pathname.replace(/\/console\/.*$/, "");
/** Events that are taken at once; frames are drawn in between. */
const EVENTS_AT_ONCE = 200;
export const BASE = `${PREFIX}/v2/api/call-history`;

/** The service refused a request: a problem document of RFC 9457, or a response of something between. */
export class ApiError extends Error {
  /**
   * @param {Response} response
   * @param {Record<string, any>} problem
   */
  constructor(response, problem) {
    const detail = typeof problem.detail === "string" ? problem.detail : `HTTP ${response.status}`;
    super(detail);
    this.name = "ApiError";
    this.status = response.status;
    /** @type {string} */
    this.code = typeof problem.code === "string" ? problem.code : "";
    /** @type {string} */
    this.detail = detail;
    /** @type {Array<{ pointer?: string, parameter?: string, code?: string, detail?: string }>} */
    this.errors = Array.isArray(problem.errors) ? problem.errors : [];
    /** @type {string} */
    this.requestId = problem.requestId ?? response.headers.get("x-request-id") ?? "";
    /** Seconds until a further try, if the service says so. */
    this.retryAfter = Number(response.headers.get("retry-after") ?? "") || 0;
  }
}

/** No response arrived. */
export class NetworkError extends Error {
  constructor() {
    super("no response");
    this.name = "NetworkError";
  }
}

/**
 * @param {unknown} error
 * @returns {boolean} whether a request ended because its page was left
 */
export function isAborted(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

/**
 * @param {string} path a route such as `/readyz`, or one below the base without a leading slash
 * @param {Params} [params]
 * @returns {string}
 */
export function urlOf(path, params) {
  const url = path.startsWith("/") ? PREFIX + path : path === "" ? BASE : `${BASE}/${path}`;
  const query = new URLSearchParams();
  for (const [name, value] of params instanceof Map ? params : Object.entries(params ?? {})) {
    if (value !== null && value !== undefined && value !== "") query.append(name, String(value));
  }
  const text = query.toString();
  return text === "" ? url : `${url}?${text}`;
}

/** @param {number} milliseconds @param {AbortSignal | undefined} signal */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve(undefined);
    };
    const timer = setTimeout(end, milliseconds);
    signal?.addEventListener("abort", end, { once: true });
  });
}

/** @param {Response} response @returns {Promise<any>} */
async function readBody(response) {
  const text = await response.text();
  if (!(response.headers.get("content-type") ?? "").includes("json")) return text;
  try {
    return text === "" ? null : JSON.parse(text);
  } catch {
    return text;
  }
}

export class Api {
  /**
   * @param {import("./session.js").Session} session
   * @param {(error: ApiError) => void} onUnauthorized a response was 401
   */
  constructor(session, onUnauthorized) {
    this.session = session;
    this.onUnauthorized = onUnauthorized;
  }

  /** @returns {Record<string, string>} the headers of who asks */
  identity() {
    /** @type {Record<string, string>} */
    const headers = {};
    if (this.session.workspace !== "") headers["x-workspace-id"] = this.session.workspace;
    if (this.session.key !== "") headers["x-api-key"] = this.session.key;
    return headers;
  }

  /**
   * @param {string} url
   * @param {RequestInit} options
   * @returns {Promise<Response>} a response of success, or 304 to a request with an entity tag
   */
  async fetch(url, options) {
    const headers = { ...this.identity(), .../** @type {Record<string, string>} */ (options.headers ?? {}) };
    /** @type {Response} */
    let response;
    try {
      response = await fetch(url, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" });
    } catch (error) {
      throw isAborted(error) ? error : new NetworkError();
    }
    if (response.ok || response.status === 304) return response;
    throw await this.refusal(response);
  }

  /** @param {Response} response */
  async refusal(response) {
    const body = await readBody(response).catch(() => null);
    const error = new ApiError(response, typeof body === "object" && body !== null ? body : {});
    if (error.status === 401) this.onUnauthorized(error);
    return error;
  }

  /**
   * @param {string} path `""` is the list, `metrics`, `export`, an encoded ID; or an absolute path such as `/readyz`
   * @param {Params} [params]
   * @param {{ signal?: AbortSignal, headers?: Record<string, string> }} [options]
   * @returns {Promise<ApiResponse>}
   */
  async get(path, params, options = {}) {
    return this.read(await this.fetch(urlOf(path, params), { signal: options.signal ?? null, headers: options.headers ?? {} }));
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body] a text or a blob is sent as it is, anything else as JSON
   * @param {Record<string, string>} [headers]
   * @returns {Promise<ApiResponse>}
   */
  async send(method, path, body, headers = {}) {
    const isRaw = typeof body === "string" || body instanceof Blob;
    const all = { "content-type": "application/json", ...headers };
    const sent = body === undefined ? null : isRaw ? body : JSON.stringify(body);
    return this.read(await this.fetch(urlOf(path), { method, body: sent, headers: all }));
  }

  /**
   * Sends a file as it is read from the disk. `fetch` would not say how much of it is sent.
   * @param {string} path
   * @param {Params} params
   * @param {Blob} file
   * @param {{ headers: Record<string, string>, signal: AbortSignal, onProgress: (sent: number) => void }} options
   * @returns {Promise<ApiResponse>} a response of any status
   */
  upload(path, params, file, { headers, signal, onProgress }) {
    const request = new XMLHttpRequest();
    return new Promise((resolve, reject) => {
      request.open("POST", urlOf(path, params));
      for (const [name, value] of Object.entries({ ...this.identity(), ...headers })) request.setRequestHeader(name, value);
      request.upload.addEventListener("progress", (event) => onProgress(event.loaded));
      request.addEventListener("load", () => {
        const head = new Headers({ "content-type": request.getResponseHeader("content-type") ?? "" });
        const response = new Response(request.responseText, { status: request.status, headers: head });
        readBody(response).then((body) => resolve({ body, headers: head, status: request.status }), reject);
      });
      request.addEventListener("error", () => reject(new NetworkError()));
      request.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
      signal.addEventListener("abort", () => request.abort(), { once: true });
      request.send(file);
    });
  }

  /** @param {Response} response @returns {Promise<ApiResponse>} */
  async read(response) {
    try {
      return { body: await readBody(response), headers: response.headers, status: response.status };
    } catch (error) {
      throw isAborted(error) ? error : new NetworkError();
    }
  }

  /**
   * Follows server-sent events until the signal aborts, and connects again after an interruption.
   * @param {string} path
   * @param {Params} params
   * @param {{ signal: AbortSignal, onEvent: (event: StreamEvent) => void, onState?: (state: "open" | "waiting") => void,
   *   lastEventId?: string }} options
   */
  async stream(path, params, { signal, onEvent, onState, lastEventId = "" }) {
    let last = lastEventId;
    let [wait, taken] = [1000, 0];
    while (!signal.aborted) {
      try {
        /** @type {Record<string, string>} */
        const headers = { accept: "text/event-stream" };
        if (last !== "") headers["last-event-id"] = last;
        const response = await this.fetch(urlOf(path, params), { signal, headers });
        onState?.("open");
        for await (const event of events(response)) {
          if (event.retry !== undefined) wait = Math.min(Math.max(event.retry, 100), 30_000);
          if (event.id !== undefined) last = event.id;
          if (event.data !== "") onEvent(event);
          taken += 1;
          if (taken % EVENTS_AT_ONCE === 0) await pause(0, signal);
        }
      } catch (error) {
        if (signal.aborted || isAborted(error)) return;
        // What is refused for another reason than load is refused again.
        const isTransient = !(error instanceof ApiError) || error.status === 429 || error.status >= 500;
        if (!isTransient) throw error;
        if (error instanceof ApiError && error.retryAfter > 0) wait = Math.min(error.retryAfter * 1000, 30_000);
      }
      onState?.("waiting");
      await pause(wait, signal);
    }
  }
}

/**
 * The events of a response, as they arrive.
 * @param {Response} response
 * @returns {AsyncGenerator<StreamEvent>}
 */
async function* events(response) {
  if (response.body === null) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split(/\r?\n\r?\n/);
    text = parts.pop() ?? "";
    for (const part of parts) yield readEvent(part);
  }
}

/** @param {string} part @returns {StreamEvent} */
function readEvent(part) {
  /** @type {StreamEvent} */
  const event = { type: "message", data: "" };
  /** @type {string[]} */
  const data = [];
  for (const line of part.split(/\r?\n/)) {
    const at = line.indexOf(":");
    if (at === 0) continue;
    const [name, raw] = at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + 1)];
    const value = raw.startsWith(" ") ? raw.slice(1) : raw;
    if (name === "data") data.push(value);
    else if (name === "event") event.type = value;
    else if (name === "id") event.id = value;
    else if (name === "retry" && /^\d+$/.test(value)) event.retry = Number(value);
  }
  event.data = data.join("\n");
  return event;
}
