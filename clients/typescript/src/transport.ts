// Sends requests with timeouts and retries, and reads responses.
import { CallHistoryError, codeOf, invalid, statusError } from "./errors.js";
import type { CallOptions, JsonCodec, Problem } from "./types.js";
import { VERSION } from "./version.js";

const BASE_PATH = "/v2/api/call-history";
const USER_AGENT = `callhistory-typescript/${VERSION}`;
const DEFAULT_TIMEOUT = 30_000;
const DEFAULT_RETRIES = 3;
const MIN_BACKOFF = 100;
const MAX_BACKOFF = 5_000;
/** A longer `Retry-After` is returned as an error instead of waited for. */
const MAX_RETRY_AFTER = 60_000;
/** A longer timer of JavaScript ends at once. */
const MAX_TIMER = 2 ** 31 - 1;

/** What a client is connected to. */
export interface Target {
  base: URL;
  apiKey: string | undefined;
  fetch: typeof fetch;
  json: JsonCodec;
}

export interface Outgoing {
  method: "GET" | "PUT" | "POST" | "PATCH" | "DELETE";
  path: string;
  query?: URLSearchParams;
  headers?: Record<string, string | undefined>;
  mediaType?: string;
  body?: string;
  /** Statuses besides 2xx that are no errors. */
  accepts?: (response: Response) => boolean;
}

/** A response, and the number of attempts that it took. */
interface Received {
  response: Response;
  attempts: number;
}

/** A response whose body was read. */
export interface Incoming extends Received {
  text: string;
}

/** A response whose body is being read. */
export interface Opened extends Received {
  parts: AsyncGenerator<Uint8Array, void, void>;
}

/** The base URL of a service, without a slash at its end. */
export function baseOf(text: string | URL): URL {
  let base: URL;
  try {
    base = new URL(text);
  } catch (cause) {
    throw invalid("the base URL is not valid", cause);
  }
  if (!/^https?:$/.test(base.protocol) || base.username || base.password || base.search || base.hash) {
    throw invalid("the base URL must be http or https, without user, query and fragment");
  }
  base.pathname = base.pathname.replace(/\/+$/, "");
  return base;
}

/** The delay before retry number `attempt`, which starts at 1. Jitter spreads clients that failed together. */
export function backoff(attempt: number, max = MAX_BACKOFF): number {
  const delay = Math.min(max, MIN_BACKOFF * 2 ** Math.min(attempt - 1, 20));
  return delay + Math.random() * delay;
}

/** Waits; rejects with the reason of the signal. */
export function sleep(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, Math.min(milliseconds, MAX_TIMER));
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** Sends a request with retries, and reads its response completely. */
export function send(target: Target, request: Outgoing, options: CallOptions): Promise<Incoming> {
  return withRetries(options, async (attempts) => {
    const attempt = new Attempt(target, request, options);
    try {
      const response = await attempt.start();
      return { response, attempts, text: await attempt.during(response, () => response.text()) };
    } finally {
      attempt.end();
    }
  });
}

/** Sends a request with retries, and returns the parts of its body. Breaking the loop cancels the response. */
export async function open(target: Target, request: Outgoing, options: CallOptions): Promise<Opened> {
  return withRetries(options, async (attempts) => {
    const attempt = new Attempt(target, request, options);
    try {
      const response = await attempt.start();
      return { response, attempts, parts: attempt.parts(response, attempts) };
    } catch (error) {
      attempt.end();
      throw error;
    }
  });
}

async function withRetries<T>(options: CallOptions, run: (attempts: number) => Promise<T>): Promise<T> {
  const retries = options.maxRetries ?? DEFAULT_RETRIES;
  let isRepeated = false;
  for (let attempts = 1; ; attempts += 1) {
    try {
      return await run(attempts);
    } catch (error) {
      if (!(error instanceof CallHistoryError)) throw error;
      error.attempts = attempts;
      error.isRepeated = isRepeated;
      isRepeated ||= error.isMaybeProcessed;
      const asked = error.retryAfter ?? 0;
      if (!error.isRetryable || attempts > retries || asked > MAX_RETRY_AFTER) throw error;
      // Added, because the service gave every rejected client the same time.
      await sleep(asked + backoff(attempts), options.signal);
    }
  }
}

/** Parses a body. */
export function parse(json: JsonCodec, incoming: Incoming, isWrite: boolean): unknown {
  try {
    return json.parse(incoming.text);
  } catch (cause) {
    throw unreadable(incoming, isWrite, "it is not valid JSON", cause);
  }
}

/** The error of a successful response whose body cannot be read. */
export function unreadable(received: Received, isWrite: boolean, reason: string, cause?: unknown): CallHistoryError {
  const message = `the service ${isWrite ? "accepted the write" : "responded"}, but its response cannot be read: ${reason}`;
  return new CallHistoryError("unreadable", message, { ...detailsOf(received), isWrite, cause });
}

/** The error of an export whose last record is cut off. */
export function cutOff(received: Received): CallHistoryError {
  return new CallHistoryError("network", "the export ends in the middle of a record", detailsOf(received));
}

function detailsOf({ response, attempts }: Received): { status: number; requestId: string | undefined; attempts: number } {
  return { status: response.status, requestId: response.headers.get("x-request-id") ?? undefined, attempts };
}

/** One attempt, with a timeout that is the same for the head and for each part of the body. */
class Attempt {
  readonly #target: Target;
  readonly #request: Outgoing;
  readonly #options: CallOptions;
  readonly #controller = new AbortController();
  readonly #stop = () => this.#controller.abort();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isLate = false;

  constructor(target: Target, request: Outgoing, options: CallOptions) {
    this.#target = target;
    this.#request = request;
    this.#options = options;
  }

  /** The response, if it is a success. */
  async start(): Promise<Response> {
    const { signal } = this.#options;
    signal?.throwIfAborted();
    signal?.addEventListener("abort", this.#stop, { once: true });
    const { method, path, query, body, accepts } = this.#request;
    const url = new URL(this.#target.base);
    url.pathname += (url.pathname.endsWith("/") ? BASE_PATH.slice(1) : BASE_PATH) + path;
    url.search = query?.toString() ?? "";
    const init: RequestInit = {
      method,
      headers: this.#headers(),
      signal: this.#controller.signal,
      // A redirect to another host would take the API key there.
      redirect: "manual",
      credentials: "omit",
    };
    if (body !== undefined) init.body = body;
    const response = await this.during(undefined, () => this.#target.fetch.call(globalThis, url, init));
    if (response.ok || accepts?.(response)) return response;
    throw statusError(response, await this.#problem(response));
  }

  #headers(): Headers {
    const headers = new Headers({ accept: "application/json", ...this.#options.headers });
    // A page that sends it would need a permission of the server (CORS).
    if (typeof document === "undefined" && !headers.has("user-agent")) headers.set("user-agent", USER_AGENT);
    headers.set("x-workspace-id", this.#options.workspace ?? "");
    if (this.#target.apiKey !== undefined) headers.set("x-api-key", this.#target.apiKey);
    if (this.#request.mediaType !== undefined) headers.set("content-type", this.#request.mediaType);
    for (const [name, value] of Object.entries(this.#request.headers ?? {})) {
      if (value !== undefined) headers.set(name, value);
    }
    return headers;
  }

  /** Waits for a part of a response, at most until the timeout. */
  async during<T>(response: Response | undefined, run: () => Promise<T>, attempts = 0): Promise<T> {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#isLate = true;
      this.#controller.abort();
    }, this.#options.timeout ?? DEFAULT_TIMEOUT);
    try {
      return await run();
    } catch (cause) {
      this.#options.signal?.throwIfAborted();
      const isWrite = this.#request.method !== "GET";
      const details = { ...(response && detailsOf({ response, attempts })), isWrite, cause };
      if (this.#isLate) throw new CallHistoryError("timeout", "the service did not respond in time", details);
      throw new CallHistoryError("network", `the connection to the service failed${reasonOf(cause)}`, details);
    } finally {
      clearTimeout(this.#timer);
    }
  }

  /** The parts of a body. */
  async *parts(response: Response, attempts: number): AsyncGenerator<Uint8Array, void, void> {
    const reader = response.body?.getReader();
    try {
      while (reader !== undefined) {
        const { done, value } = await this.during(response, () => reader.read(), attempts);
        if (done) return;
        yield value;
      }
    } finally {
      this.end();
      this.#controller.abort();
    }
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#options.signal?.removeEventListener("abort", this.#stop);
  }

  /** The problem of an error response. An error page of a proxy is not read. */
  async #problem(response: Response): Promise<Problem | undefined> {
    try {
      if (!hasMediaType(response, "application/problem+json")) {
        await response.body?.cancel();
        return undefined;
      }
      return JSON.parse(await this.during(response, () => response.text())) as Problem;
    } catch {
      this.#options.signal?.throwIfAborted();
      return undefined;
    }
  }
}

function reasonOf(error: unknown): string {
  const code = codeOf(error);
  return code === undefined ? "" : `: ${code}`;
}

export function hasMediaType(response: Response, name: string): boolean {
  const mediaType = response.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
  return mediaType === name;
}
