// The operations, against the server.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "callhistory";
import type { CallInput, CallRecord } from "callhistory";
import { failure, RealServer } from "./servers.js";

const server = await new RealServer().start();
const client = new Client(server.base, { workspace: "w1" });

test("a record is written, read, changed and deleted", async () => {
  const written = await client.replaceCall("a 1+ü".replace(" ", "-"), { status: "completed", cost: { customer_charge: 0.25 } });
  assert(written.created && written.call._id === "a-1+ü", written.text);
  const read = await client.getCall("a-1+ü");
  assert.equal(read.version, written.version);
  assert.equal(read.call.cost?.customer_charge, 0.25);
  assert.equal(read.requestId?.length, 32);
  const updated = await client.updateCall("a-1+ü", { summary: "Asked.", status: null }, { ifMatch: read.version });
  assert(!updated.created && updated.call.summary === "Asked." && updated.call.status === undefined);
  await client.deleteCall("a-1+ü");
  const error = await failure(client.getCall("a-1+ü"));
  assert(error.isNotFound && error.status === 404 && error.code === "call_not_found" && !error.isRetryable);
  assert.equal(error.requestId?.length, 32);
});

test("versions protect a write and save a read", async () => {
  const { version } = await client.replaceCall("v1", { status: "ongoing" });
  assert.equal(await client.getCallIfChanged("v1", version), undefined);
  await client.updateCall("v1", { summary: "Changed." });
  assert.equal((await client.getCallIfChanged("v1", version))?.call.summary, "Changed.");
  const stale = await failure(client.updateCall("v1", { summary: "Lost." }, { ifMatch: version }));
  assert(stale.isPreconditionFailed && !stale.isConflict && stale.code === "precondition_failed");
  const exists = await failure(client.replaceCall("v1", {}, { ifNoneMatch: "*" }));
  assert(exists.isPreconditionFailed);
  const late = await client.replaceCall("v2", { status: "completed" });
  const conflict = await failure(client.updateCall("v2", { status: "ringing" }));
  assert(conflict.isConflict && !conflict.isPreconditionFailed && conflict.code === "final_status");
  await client.updateCall("v2", { status: "ringing" }, { ifMatch: late.version });
  assert((await client.upsertCall("v3", { status: "busy" })).created);
  assert((await failure(client.updateCall("v4", { status: "busy" }))).isNotFound);
});

test("a record is created once under a key", async () => {
  const options = { idempotencyKey: "job-7" };
  const [one, two] = [await client.createCall({ agent: "A" }, options), await client.createCall({ agent: "A" }, options)];
  assert.equal(one.call._id, two.call._id);
  assert.notEqual((await client.createCall({ agent: "A" })).call._id, one.call._id);
  const reused = await failure(client.createCall({ agent: "B" }, options));
  assert(reused.isInvalidRequest && reused.code === "idempotency_key_reused");
});

test("a refused record names its members", async () => {
  const wrong = { startTime: 1680000000123, metadata: ["red"] } as object as CallInput;
  const error = await failure(client.replaceCall("bad", wrong));
  assert.equal(error.status, 422);
  assert.deepEqual(error.errors.map(({ pointer, code }) => [pointer, code]).sort(), [["/metadata", "wrong_type"], ["/startTime", "wrong_unit"]]);
  assert(!error.message.includes("red") && error.message.includes("/startTime wrong_unit"), error.message);
  const lenient = await client.replaceCall("bad", wrong, { handling: "lenient" });
  assert.deepEqual(lenient.warnings.map(({ code }) => code).sort(), ["left_out", "unit_converted"]);
  const [original] = await client.listOriginals("bad");
  assert(original !== undefined);
  const { body, mediaType } = await client.getOriginal("bad", original.number);
  assert.equal(new TextDecoder().decode(body), JSON.stringify(wrong));
  assert.equal(mediaType, "application/json");
});

test("a list and a search lead through all pages", async () => {
  const pages = client.with({ workspace: "pages" });
  const calls = Array.from({ length: 25 }, (_, at) => ({
    _id: `p${at}`,
    startTime: 1_700_000_000 + at,
    status: at % 2 ? "busy" : "no, really!",
    agent: "refund",
    metadata: { ticket: `A-${at % 3}`, "ä b": { c: "x+y" } },
  }));
  await pages.importCalls(calls);
  const ids: string[] = [];
  for await (const call of pages.streamCalls({ limit: 4 })) ids.push(call._id);
  assert.deepEqual(ids, calls.map(({ _id }) => _id).reverse());
  const sizes: number[] = [];
  for await (const { calls } of pages.streamPages({ limit: 10 })) sizes.push(calls.length);
  assert.deepEqual(sizes, [10, 10, 5]);
  const page = await pages.listCalls({ limit: 4, includeTotal: true, status: ["busy"], sort: "startTime", fields: ["_id", "status"] });
  assert(page.total === 12 && page.next !== undefined);
  assert.deepEqual(page.calls[0], { _id: "p1", status: "busy" });
  assert.equal((await pages.listCalls({ limit: 4, status: ["busy"], sort: "startTime", cursor: page.next })).calls[0]?._id, "p9");
  const hits: string[] = [];
  for await (const { call, evidence } of pages.streamSearchHits({ q: "refund", limit: 4 })) {
    assert.equal(evidence[0]?.member, "/agent");
    hits.push(call._id);
  }
  assert.deepEqual(hits, ids);
  assert.equal((await pages.searchCalls({ q: "refund", includeTotal: true })).total, 25);

  const counts = async (query: Parameters<typeof pages.getCallMetrics>[0]) => (await pages.getCallMetrics(query)).totalCalls;
  assert.equal(await counts({ metadata: { ticket: "A-1" } }), 8);
  assert.equal(await counts({ metadata: { ticket: "A-1", "ä b.c": "x+y" } }), 8);
  assert.equal(await counts({ status: ["no, really!"] }), 13);
  assert.equal(await counts({ status: "!busy" }), 13);
  assert.equal(await counts({ callIds: ["p1", "p2"] }), 2);
  assert.equal(await counts({ startedAfter: new Date(1_700_000_020_000) }), 5);
  assert.equal(await counts({ startedBefore: 1_700_000_020, dateRange: { from: "2023-11-14T22:13:30Z" } }), 10);
  const metrics = await pages.getCallMetrics({ groupBy: ["status", "metadata.ticket"] });
  assert.equal(metrics.groups?.length, 6);
  const typo = await failure(pages.getCallMetrics({ statu: "busy" } as object));
  assert(typo.isInvalidRequest && typo.errors[0]?.parameter === "statu", typo.message);
});

test("options of a call and of a client are kept apart", async () => {
  await client.replaceCall("o1", {}, { workspace: "other" });
  assert((await failure(client.getCall("o1"))).isNotFound);
  const other = client.with({ workspace: "other", headers: { "x-request-id": "mine" } });
  assert.equal((await other.getCall("o1")).requestId, "mine");
  assert.equal((await other.getCall("o1", { headers: { "x-request-id": "yours" } })).requestId, "yours");
  assert.throws(() => client.with({ workspace: "no spaces" }), { kind: "invalid" });
  assert.throws(() => new Client("ftp://localhost", { workspace: "w" }), { kind: "invalid" });
  for (const id of ["", ".", "..", "metrics"]) assert.equal((await failure(client.getCall(id))).kind, "invalid");
});

test("digits are in the text, and another reader of JSON keeps them", async () => {
  const text = '{"cost":{"customer_charge":0.10},"startTime":1737062894.975123456}';
  const exact = new Client(server.base, { workspace: "w1", json: { parse: (text) => ({ raw: text }), stringify: () => text } });
  await exact.replaceCall("digits", {});
  const { call, text: stored } = await exact.getCall("digits");
  assert(stored.includes('"customer_charge":0.10') && stored.includes("1737062894.975123456"), stored);
  assert.equal((call as CallRecord & { raw: string }).raw, stored);
  assert.equal((await client.getCall("digits")).call.cost?.customer_charge, 0.1);
});

test("a key is sent, and its lack is named", async () => {
  const locked = await new RealServer("--require-keys").start();
  const missing = await failure(new Client(locked.base, { workspace: "w1" }).getCall("a"));
  assert(missing.isUnauthorized && missing.code === "key_missing");
  const wrong = await failure(new Client(locked.base, { workspace: "w1", apiKey: "secret" }).getCall("a"));
  assert(wrong.code === "key_invalid" && !wrong.message.includes("secret"));
});
