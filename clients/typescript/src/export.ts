import { CallHistoryError } from "./errors.js";
import { backoff, cutOff, sleep, unreadable } from "./transport.js";
import type { Opened } from "./transport.js";
import type { ByteStream, CallOptions, CallRecord, ExportQuery, JsonCodec } from "./types.js";

/** The first second after the last time that the service knows. */
const TIME_END = 9_151_488_000;

/** The records of an export, across broken connections. */
export async function* exportCalls(
  start: (query: ExportQuery) => Promise<Opened>,
  json: JsonCodec,
  query: ExportQuery,
  { maxRetries = 3, signal }: CallOptions,
): AsyncGenerator<CallRecord, void, void> {
  const seen = new Seen();
  let rest: ExportQuery | undefined = query;
  for (let breaks = 0; ; ) {
    const opened = await start(rest);
    try {
      for await (const call of records(opened, json)) {
        if (!seen.isNew(call)) continue;
        breaks = 0;
        yield call;
      }
      return;
    } catch (error) {
      rest = restOf(query, seen.second);
      if (!(error instanceof CallHistoryError && error.isRetryable) || breaks >= maxRetries || rest === undefined) throw error;
      breaks += 1;
      await sleep(backoff(breaks), signal);
    }
  }
}

/** The bytes of a file. */
export function exportFile({ parts }: Opened): ByteStream {
  const stream = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await parts.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await parts.return();
    },
  });
  // Safari has no iterator for streams.
  const iterator = Symbol.asyncIterator in stream ? {} : { [Symbol.asyncIterator]: () => iterate(stream) };
  return Object.assign(stream, iterator) as ByteStream;
}

/** The parts of a stream. Breaking the loop cancels it. */
async function* iterate(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
  const reader = stream.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
  } finally {
    await reader.cancel();
    reader.releaseLock();
  }
}

async function* records(opened: Opened, json: JsonCodec): AsyncGenerator<CallRecord, void, void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const part of opened.parts) {
    const lines = (rest + decoder.decode(part, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      try {
        yield json.parse(line) as CallRecord;
      } catch (cause) {
        throw unreadable(opened, false, "a line is not valid JSON", cause);
      }
    }
  }
  if (rest !== "") throw cutOff(opened);
}

/** What is needed to go on after the last record of an export, newest first. */
class Seen {
  /** The second of the last record. */
  second: number | undefined;
  /** The records of this second, and of the one after it: a number can be rounded up to the next second. */
  #ids = new Set<string>();
  #later = new Set<string>();

  isNew(call: CallRecord): boolean {
    if (this.#ids.has(call._id) || this.#later.has(call._id)) return false;
    const second = secondOf(call);
    if (second !== undefined && second !== this.second) {
      this.#later = second === (this.second ?? 0) - 1 ? this.#ids : new Set();
      this.#ids = new Set();
      this.second = second;
    }
    this.#ids.add(call._id);
    return true;
  }
}

/** The whole second of the time that an export is sorted by. */
function secondOf(call: CallRecord): number | undefined {
  const start = Number(call.startTime ?? Number.NaN);
  if (start >= 0 && start < TIME_END) return Math.floor(start);
  const created = Date.parse(call.createdAt ?? "");
  return Number.isNaN(created) ? undefined : Math.floor(created / 1000);
}

/** The rest of an export, from the second of its last record on; `undefined` if the service cannot be asked for it. */
function restOf(query: ExportQuery, second: number | undefined): ExportQuery | undefined {
  if (second === undefined) return query;
  if ((query.sort ?? "-startTime") !== "-startTime" || query.fields !== undefined) return undefined;
  const time = (at: number) => new Date(at * 1000).toISOString();
  if (query.startedBefore === undefined) return { ...query, startedBefore: time(second + 1) };
  // A range includes its end.
  if (query.dateRange === undefined) return { ...query, dateRange: { to: time(second).replace(".000Z", ".999999999Z") } };
  return undefined;
}
