import { CallHistoryError } from "./errors.js";
import { backoff, sleep } from "./transport.js";
import type { CallChangePage, CallOptions, ChangesQuery, FollowOptions } from "./types.js";

const DEFAULT_WAIT = 30;
const DEFAULT_TIMEOUT = 30_000;
const MAX_BACKOFF = 15_000;
/** A longer `Retry-After` is not waited for to its end. */
const MAX_RETRY_AFTER = 300_000;

/** Follows the changes until the signal is aborted. */
export async function* followChanges(
  list: (query: ChangesQuery, options: CallOptions) => Promise<CallChangePage>,
  options: FollowOptions,
): AsyncGenerator<CallChangePage, void, void> {
  const { wait = DEFAULT_WAIT, limit, onOutage, ...rest } = options;
  const { signal, timeout = DEFAULT_TIMEOUT } = rest;
  // The service responds after the wait.
  const once = { ...rest, timeout: timeout + wait * 1000, maxRetries: 0 };
  let { cursor } = options;
  let failures = 0;
  while (!signal?.aborted) {
    try {
      const page = await list({ cursor, limit, wait }, once);
      failures = 0;
      ({ cursor } = page);
      // A wait that ended without a change is no page.
      if (page.changes.length > 0) yield page;
    } catch (error) {
      if (signal?.aborted) return;
      if (!(error instanceof CallHistoryError && error.isRetryable)) throw error;
      failures += 1;
      const delay = Math.min(error.retryAfter ?? 0, MAX_RETRY_AFTER) + backoff(failures, MAX_BACKOFF);
      onOutage?.({ error, failures, delay });
      await sleep(delay, signal).catch(() => undefined);
    }
  }
}
