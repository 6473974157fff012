// What the client does about faults, against a server whose responses are written here.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Client } from "callhistory";
import type { CallInput } from "callhistory";
import { cutOff, failure, json, nobody, problem, stub } from "./servers.js";

const CALL = { _id: "a", workspaceId: "w", createdAt: "2026-01-01T00:00:00Z", updatedAt: "2026-01-01T00:00:00Z" };

function clientOf(base: string, options: { maxRetries?: number; timeout?: number } = {}): Client {
  return new Client(base, { workspace: "w", ...options });
}

test("a rate limit is waited for, in both forms of Retry-After", async () => {
  const inTwoSeconds = new Date(Date.now() + 2_000).toUTCString();
  for (const retryAfter of ["1", inTwoSeconds]) {
    const { base, requests } = await stub(problem(429, "rate_limited", { "retry-after": retryAfter }), json(CALL));
    const started = Date.now();
    await clientOf(base).getCall("a");
    assert.equal(requests.length, 2);
    // A date has whole seconds, so up to one of them is over.
    const least = retryAfter === "1" ? 1_000 : Date.parse(retryAfter) - started;
    assert(Date.now() - started >= least - 5, `${Date.now() - started} ms`);
  }
  const { base, requests } = await stub(problem(429, "rate_limited", { "retry-after": "3600" }));
  const error = await failure(clientOf(base).getCall("a"));
  assert(error.isRateLimited && error.isRetryable && error.retryAfter === 3_600_000 && error.attempts === 1);
  assert(requests.length === 1 && error.requestId === "r1" && !error.message.includes("secret"), error.message);
});

test("transient errors are retried, others are not", async () => {
  for (const status of [408, 502, 503, 504]) {
    const { base, requests } = await stub(problem(status, "unavailable"), json(CALL));
    assert.equal((await clientOf(base).getCall("a")).call._id, "a");
    assert.equal(requests.length, 2);
  }
  for (const status of [400, 401, 403, 409, 410, 500]) {
    const { base, requests } = await stub(problem(status, "some"));
    assert.equal((await failure(clientOf(base).getCall("a"))).status, status);
    assert.equal(requests.length, 1);
  }
  const { base, requests } = await stub(json("<html>", 503, { "content-type": "text/html" }));
  const error = await failure(clientOf(base, { maxRetries: 1 }).getCall("a"));
  assert(error.attempts === 2 && requests.length === 2 && error.problem === undefined && error.code === undefined);
  const none = await failure(clientOf(await nobody(), { maxRetries: 1 }).getCall("a"));
  assert(none.kind === "network" && none.attempts === 2 && none.isRetryable && none.status === undefined);
  assert(none.message.endsWith(": ECONNREFUSED"), none.message);
});

test("a retried write has the same key and body", async () => {
  const { base, requests } = await stub((_, response) => void response.destroy(), problem(503, "unavailable"), json(CALL, 201));
  await clientOf(base).createCall({ agent: "A" });
  assert.equal(requests.length, 3);
  assert.equal(new Set(requests.map(({ headers }) => headers["idempotency-key"])).size, 1);
  assert.deepEqual(new Set(requests.map(({ text }) => text)), new Set(['{"agent":"A"}']));
});

test("a deletion whose response was lost is done", async () => {
  const { base } = await stub((_, response) => void response.destroy(), problem(404, "call_not_found"));
  await clientOf(base).deleteCall("a");
  const absent = await stub(problem(404, "call_not_found"));
  assert((await failure(clientOf(absent.base).deleteCall("a"))).isNotFound);
  const limited = await stub(problem(429, "rate_limited"), problem(404, "call_not_found"));
  const error = await failure(clientOf(limited.base).deleteCall("a"));
  assert(error.isNotFound && error.attempts === 2);
  let isFirst = true;
  const unconnected: typeof fetch = (...request) => {
    if (!isFirst) return fetch(...request);
    isFirst = false;
    return Promise.reject(new TypeError("fetch failed", { cause: Object.assign(new Error(), { code: "ECONNREFUSED" }) }));
  };
  const late = new Client(absent.base, { workspace: "w", fetch: unconnected });
  assert((await failure(late.deleteCall("a"))).isNotFound);
});

test("a broken body is read again, and a write is not repeated", async () => {
  const reads = await stub(cutOff('{"_id":', { "content-length": "100" }), json(CALL));
  assert.equal((await clientOf(reads.base).getCall("a")).call._id, "a");
  assert.equal(reads.requests.length, 2);
  const writes = await stub(cutOff('{"_id":', { "content-length": "100", "x-request-id": "r1" }));
  const error = await failure(clientOf(writes.base).replaceCall("a", {}));
  assert(error.wasAccepted && !error.isRetryable && error.status === 200 && writes.requests.length === 1);
  assert(error.requestId === "r1" && error.attempts === 1);
  const malformed = await stub(cutOff("<html>", { "content-length": "6", "x-request-id": "r2" }));
  const unreadable = await failure(clientOf(malformed.base).getCall("a"));
  assert(unreadable.kind === "unreadable" && !unreadable.isRetryable);
  assert(unreadable.requestId === "r2" && unreadable.attempts === 1);
});

test("a response that does not arrive is a timeout", async () => {
  const { base } = await stub(() => undefined);
  // Whether a request arrives before its timeout is not certain on a busy machine.
  const error = await failure(clientOf(base, { timeout: 50, maxRetries: 1 }).getCall("a"));
  assert(error.isTimeout && error.kind === "timeout" && error.attempts === 2);
  const signal = AbortSignal.timeout(50);
  await assert.rejects(clientOf(base).getCall("a", { signal }), { name: "TimeoutError" });
});

test("a redirect is not followed", async () => {
  const { base, requests } = await stub((_, response) => void response.writeHead(302, { location: "/elsewhere" }).end());
  const error = await failure(new Client(base, { workspace: "w", apiKey: "k" }).getCall("a"));
  assert(error.status === 302 && error.message.includes("base URL") && requests.length === 1);
});

test("pages follow Link, and the header for the next cursor before it", async () => {
  const last = json([{ ...CALL, _id: "b" }]);
  for (const headers of [{ link: '<?limit=1&cursor=c-1>; rel="next"' }, { link: '<https://x/y?cursor=no>; rel="next"', "x-next-cursor": "c-1" }]) {
    const { base, requests } = await stub(json([CALL], 200, headers), last);
    const ids = [];
    for await (const call of clientOf(base).streamCalls({ status: "busy" })) ids.push(call._id);
    assert.deepEqual(ids, ["a", "b"]);
    assert.equal(requests[1]?.url, "/v2/api/call-history?limit=100&status=busy&cursor=c-1");
  }
});

test("an export resumes in the second of its last record", async () => {
  const line = (id: string, startTime: number) => `${JSON.stringify({ ...CALL, _id: id, startTime })}\n`;
  const first = line("d", 1_700_000_005.5) + line("c", 1_700_000_001.75) + line("b", 1_700_000_001.5);
  const rest = line("c", 1_700_000_001.75) + line("b", 1_700_000_001.5) + line("b2", 1_700_000_001.5) + line("a", 1_699_999_999);
  const whole: Parameters<typeof stub>[0] = (_, response) => void response.writeHead(200).end(rest);
  for (const [query, parameter] of [
    [{}, "startedBefore=2023-11-14T22%3A13%3A22.000Z"],
    [{ startedBefore: "2024-01-01" }, "dateRange=%7B%22to%22%3A%222023-11-14T22%3A13%3A21.999999999Z%22%7D"],
  ] as const) {
    const { base, requests } = await stub(cutOff(`${first}{"_id":"half`), problem(503, "unavailable"), whole);
    const ids = [];
    for await (const call of clientOf(base).exportCalls(query)) ids.push(call._id);
    assert.deepEqual(ids, ["d", "c", "b", "b2", "a"]);
    assert(requests[2]?.url.includes(parameter), requests[2]?.url);
  }
  for (const [handler, kind] of [
    [cutOff(first, { "x-request-id": "r1" }), "network"],
    [cutOff(`${first}{"_id`, { "x-request-id": "r1", "content-length": `${first.length + 5}` }), "network"],
    [cutOff("<html>\n", { "x-request-id": "r1", "content-length": "7" }), "unreadable"],
  ] as const) {
    const { base } = await stub(handler, whole);
    await assert.rejects(async () => {
      for await (const _ of clientOf(base).exportCalls({ sort: "startTime" }));
    }, { kind, status: 200, requestId: "r1", attempts: 1 });
  }
});

test("a file is complete where streams have no iterator", async () => {
  const iterator = Object.getOwnPropertyDescriptor(ReadableStream.prototype, Symbol.asyncIterator);
  assert(iterator !== undefined);
  const { base } = await stub((_, response) => {
    response.writeHead(200);
    // Parts that the client reads one by one.
    let at = 0;
    const write = () => void (at < 5 ? response.write(`part ${at++};`, () => setTimeout(write, 20)) : response.end());
    write();
  });
  Reflect.deleteProperty(ReadableStream.prototype, Symbol.asyncIterator);
  try {
    const stream = await clientOf(base).exportFile("csv");
    await new Promise((resolve) => setTimeout(resolve, 50));
    let text = "";
    for await (const part of stream) text += new TextDecoder().decode(part);
    assert.equal(text, "part 0;part 1;part 2;part 3;part 4;");
    for await (const _ of await clientOf(base).exportFile("csv")) break;
  } finally {
    Object.defineProperty(ReadableStream.prototype, Symbol.asyncIterator, iterator);
  }
});

test("an import that fails says what was written before", async () => {
  const report = { created: 500, replaced: 0, aborted: false, errors: [], warnings: [] };
  const { base, requests } = await stub(json(report), problem(507, "storage_full"));
  const calls = Array.from({ length: 600 }, (_, at): CallInput => ({ _id: `i${at}` }));
  const error = await failure(clientOf(base).importCalls(calls));
  assert(error.code === "storage_full" && error.imported?.records === 500 && error.imported.report.created === 500);
  assert.equal(requests[1]?.text.split("\n").length, 101);
});

test("the feed waits for a service that is limited, and ends at other errors", async () => {
  const page = json({ changes: [{ type: "created", _id: "a", version: 1, at: CALL.createdAt }], cursor: "c1", hasMore: false });
  const { base, requests } = await stub(
    json({ changes: [], cursor: "c0", hasMore: false }),
    problem(429, "rate_limited", { "retry-after": "1" }),
    cutOff('{"changes":', { "content-length": "50" }),
    page,
    problem(410, "cursor_expired"),
  );
  const delays: number[] = [];
  const pages = clientOf(base).followChanges({ onOutage: ({ delay }) => delays.push(delay) });
  assert.equal((await pages.next()).value?.cursor, "c1");
  assert(delays.length === 2 && (delays[0] ?? 0) >= 1_100, delays.join());
  assert.deepEqual(requests.slice(1, 4).map(({ url }) => new URL(url, base).searchParams.get("cursor")), ["c0", "c0", "c0"]);
  const error = await failure(pages.next());
  assert(error.isCursorExpired && !error.isRetryable);
});

test("the feed waits some minutes for a service that asks for more", async () => {
  // As milliseconds, this is more than a timer can hold.
  const { base, requests } = await stub(problem(503, "unavailable", { "retry-after": "2147484" }));
  const stop = new AbortController();
  const delays: number[] = [];
  const onOutage = ({ delay }: { delay: number }) => {
    delays.push(delay);
    setTimeout(() => stop.abort(), 100);
  };
  for await (const _ of clientOf(base).followChanges({ signal: stop.signal, onOutage }));
  assert(delays.length === 1 && (delays[0] ?? 0) >= 300_000 && (delays[0] ?? 0) < 400_000, delays.join());
  assert.equal(requests.length, 1);
});

test("a request names the version of the package", async () => {
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  const { base, requests } = await stub(json(CALL));
  await clientOf(base).getCall("a");
  assert.equal(requests[0]?.headers["user-agent"], `callhistory-typescript/${version}`);
});
