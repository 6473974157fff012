import type { FieldError, ImportProgress, Problem } from "./types.js";

/** What failed. */
export type ErrorKind =
  /** The client refused the call, and sent nothing. */
  | "invalid"
  /** No response arrived, or its body was cut off. */
  | "network"
  /** The response did not arrive in time. */
  | "timeout"
  /** The response is an error. */
  | "status"
  /** The response is a success, and its body cannot be read. */
  | "unreadable";

interface Details {
  status?: number | undefined;
  problem?: Problem | undefined;
  requestId?: string | undefined;
  retryAfter?: number | undefined;
  attempts?: number | undefined;
  isWrite?: boolean | undefined;
  cause?: unknown;
}

const TRANSIENT = [408, 425, 429, 502, 503, 504];
/** Those of them after which nothing was written. */
const UNPROCESSED = [408, 425, 429];
/** Codes of Node for a connection that was not made. */
const UNCONNECTED = ["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"];

/** Whether a status is transient. 500 is not: the service returns it where a retry does not help. */
function isTransient(status: number | undefined): boolean {
  return status !== undefined && TRANSIENT.includes(status);
}

/**
 * The error of a call. Its message is one line without the API key and without content of a record; `problem` and
 * `errors` can quote a value that was refused.
 */
export class CallHistoryError extends Error {
  override readonly name = "CallHistoryError";
  readonly kind: ErrorKind;
  /** HTTP status of the last response, if there was one. */
  readonly status: number | undefined;
  /** The problem document of the service. The response of a proxy has none. */
  readonly problem: Problem | undefined;
  /** ID of the request in the log of the service. */
  readonly requestId: string | undefined;
  /** Milliseconds that the service asks to wait (`Retry-After`). */
  readonly retryAfter: number | undefined;
  /** Number of attempts; 0 if nothing was sent. */
  attempts: number;
  /** What an import had written before it failed. */
  imported: ImportProgress | undefined;
  /** @internal Whether the service can have processed an attempt before the last one. */
  isRepeated = false;
  readonly #isWrite: boolean;

  constructor(kind: ErrorKind, message: string, details: Details = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.kind = kind;
    this.status = details.status;
    this.problem = details.problem;
    this.requestId = details.requestId;
    this.retryAfter = details.retryAfter;
    this.attempts = details.attempts ?? 0;
    this.#isWrite = details.isWrite ?? false;
  }

  /** The stable code of the problem, such as `call_not_found`. */
  get code(): string | undefined {
    return this.problem?.code;
  }

  /** The errors of single members and parameters. */
  get errors(): FieldError[] {
    return this.problem?.errors ?? [];
  }

  /** 404: the record does not exist in this workspace. */
  get isNotFound(): boolean {
    return this.#has(404);
  }

  /** 409: the state of the record does not allow the request, whatever its version. */
  get isConflict(): boolean {
    return this.#has(409);
  }

  /** 412: the record is not the version of `ifMatch`, or exists. Read it again, and repeat the change. */
  get isPreconditionFailed(): boolean {
    return this.#has(412);
  }

  /** 429. The client has made its retries. */
  get isRateLimited(): boolean {
    return this.#has(429);
  }

  /** 400, 413, 415, 422, or refused before it was sent. A retry does not help. */
  get isInvalidRequest(): boolean {
    return this.kind === "invalid" || this.#has(400, 413, 415, 422);
  }

  /** 401: the API key is missing, invalid or expired. */
  get isUnauthorized(): boolean {
    return this.#has(401);
  }

  /** 403: the API key lacks a scope, or belongs to another workspace. */
  get isForbidden(): boolean {
    return this.#has(403);
  }

  /** The cursor has expired, because the database was restored: start again without it. */
  get isCursorExpired(): boolean {
    return this.#has(410) && this.code === "cursor_expired";
  }

  /** A timeout of the client, of the service or of a proxy. */
  get isTimeout(): boolean {
    return this.kind === "timeout" || this.#has(408, 504);
  }

  /** The same call can succeed later. */
  get isRetryable(): boolean {
    if (this.kind === "network" || this.kind === "timeout") return !this.wasAccepted;
    return this.kind === "status" && isTransient(this.status);
  }

  /** The service accepted the write, but its response could not be read. Read the record to see what is stored. */
  get wasAccepted(): boolean {
    return this.#isWrite && this.kind !== "status" && this.status !== undefined;
  }

  /** @internal Whether the service can have processed the last attempt. A 503 can follow a write that took effect. */
  get isMaybeProcessed(): boolean {
    if (this.kind === "status") return !UNPROCESSED.includes(this.status ?? 0);
    return !UNCONNECTED.includes(codeOf(this.cause) ?? "");
  }

  #has(...statuses: number[]): boolean {
    return this.kind === "status" && this.status !== undefined && statuses.includes(this.status);
  }
}

/** An error of the caller, before anything is sent. */
export function invalid(message: string, cause?: unknown): CallHistoryError {
  return new CallHistoryError("invalid", message, { cause });
}

/** The code of the innermost cause, such as `ECONNREFUSED`, which names no data. */
export function codeOf(error: unknown): string | undefined {
  let code: string | undefined;
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ("code" in cause && typeof cause.code === "string") code = cause.code;
  }
  return code;
}

/** The error of a response that is no success. */
export function statusError(response: Response, problem: Problem | undefined): CallHistoryError {
  const requestId = response.headers.get("x-request-id") ?? undefined;
  const status = response.status;
  let message = `the service responded ${status} without a problem document`;
  if (response.type === "opaqueredirect" || (status >= 300 && status < 400)) {
    message = "the service responded with a redirect, and redirects are not followed: check the base URL";
  } else if (problem !== undefined) {
    // The details of a problem can quote the record; codes and the names of top-level members do not.
    const places = (problem.errors ?? []).slice(0, 3).map((error) => {
      const place = error.parameter ?? error.pointer?.replace(/^(\/[^/]*).*$/s, "$1") ?? "";
      return `${place} ${error.code}`.trim();
    });
    message = `the service responded ${status} ${problem.code}: ${[problem.title, ...places].join(", ")}`;
  }
  if (requestId !== undefined) message += ` (request id ${requestId})`;
  const retryAfter = retryAfterOf(response.headers, Date.now());
  return new CallHistoryError("status", message.replace(/[\u0000-\u001f]/g, " "), { status, problem, requestId, retryAfter });
}

/** The delay of `Retry-After` in milliseconds: seconds, or a date. */
export function retryAfterOf(headers: Headers, now: number): number | undefined {
  const text = headers.get("retry-after")?.trim() ?? "";
  if (/^[0-9]+$/.test(text)) return Number(text) * 1000;
  // Other texts are dates to some engines: a date of HTTP has a name of a day and GMT.
  const date = /^[A-Z][a-z]+, .* GMT$/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
