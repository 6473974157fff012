// Imports, exports and the change feed, against the server.
import assert from "node:assert/strict";
import { readFile, writeFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Client } from "callhistory";
import type { CallInput } from "callhistory";
import { RealServer } from "./servers.js";

const server = await new RealServer().start();
const client = new Client(server.base, { workspace: "streams" });
const COUNT = 1_234;

async function* generated(): AsyncGenerator<CallInput> {
  for (let at = 0; at < COUNT; at += 1) {
    await Promise.resolve();
    yield { _id: `c${at}`, startTime: 1_700_000_000 + at / 4, status: "completed", summary: "Ä".repeat(10) };
  }
}

test("an import sends bounded requests and adds their reports", async () => {
  const progress: number[] = [];
  const report = await client.importCalls(generated(), { onProgress: ({ records }) => progress.push(records) });
  assert.equal(report.created, COUNT);
  assert.deepEqual(progress, [500, 1000, COUNT]);
  const again = await client.importCalls([{ _id: "c0", status: "failed" }], { mode: "create" });
  assert(again.rejected === 1 && again.created === 0 && again.errors[0]?.line === 1);

  const odd = Array.from({ length: 501 }, (_, at) => ({ _id: `o${at}` }) as CallInput);
  odd[500] = { _id: 7 } as never;
  odd[3] = { _id: "" } as never;
  const mixed = await client.importCalls(odd, { handling: "strict", workspace: "mixed" });
  assert.deepEqual(mixed.errors.map(({ line }) => line), [4, 501]);
  const all = await client.importCalls(odd, { handling: "strict", workspace: "atomic", atomic: true });
  assert(all.aborted && all.created === 0);
});

test("an export is a stream of records, or a file", async () => {
  const ids = [];
  for await (const call of client.exportCalls()) ids.push(call._id);
  assert(ids.length === COUNT && ids[0] === `c${COUNT - 1}` && ids.at(-1) === "c0");
  const few = [];
  for await (const call of client.exportCalls({ fields: ["_id"], sort: "startTime", startedBefore: 1_700_000_001 })) few.push(call);
  assert.deepEqual(few, [{ _id: "c0" }, { _id: "c1" }, { _id: "c2" }, { _id: "c3" }]);
  for await (const call of client.exportCalls()) {
    assert.equal(call._id, `c${COUNT - 1}`);
    break;
  }

  const folder = await mkdtemp(join(tmpdir(), "callhistory-"));
  const starts = { csv: "_id,", xlsx: "PK", parquet: "PAR1" };
  for (const [format, start] of Object.entries(starts) as ["csv" | "xlsx" | "parquet", string][]) {
    const path = join(folder, `calls.${format}`);
    await writeFile(path, await client.exportFile(format, { startedBefore: 1_700_000_010, timezone: "Europe/Berlin" }));
    const bytes = await readFile(path);
    assert(bytes.toString("latin1").startsWith(start), bytes.toString("latin1", 0, 100));
    if (format === "csv") assert.equal(bytes.toString().trim().split("\r\n").length, 41);
  }
  await rm(folder, { recursive: true });
  const cancelled = await client.exportFile("csv");
  await cancelled.cancel();
});

test("the feed is followed over a restart of the server, from a saved cursor", async () => {
  const own = await new RealServer().start();
  const writer = new Client(own.base, { workspace: "feed" });
  await writer.replaceCall("f1", { status: "ringing" });
  const stop = new AbortController();
  const outages: string[] = [];
  let saved: string | undefined;
  const seen: string[] = [];
  const follow = async () => {
    const options = { cursor: saved, wait: 2, signal: stop.signal, onOutage: ({ error }: { error: Error }) => outages.push(error.message) };
    for await (const page of writer.followChanges(options)) {
      seen.push(...page.changes.map((change) => `${change.type} ${change._id}`));
      saved = page.cursor;
      if (seen.length === 1) await own.stop();
      if (seen.length === 2) await writer.deleteCall("f1");
      if (seen.length === 3) break;
    }
  };
  const restarted = (async () => {
    while (outages.length < 3) await new Promise((resolve) => setTimeout(resolve, 20));
    await own.start();
    await writer.replaceCall("f2", {});
  })();
  await Promise.all([follow(), restarted]);
  assert.deepEqual(seen, ["created f1", "created f2", "deleted f1"]);
  assert(outages.length >= 3 && outages.every((message) => message.includes("connection")), outages.join());

  // The next run starts at the saved cursor, and ends when it is asked to, in the middle of a wait.
  await writer.replaceCall("f3", {});
  const next: string[] = [];
  for await (const page of writer.followChanges({ cursor: saved, wait: 60, signal: stop.signal })) {
    next.push(...page.changes.map((change) => change._id));
    setTimeout(() => stop.abort(), 100);
  }
  assert.deepEqual(next, ["f3"]);
  const wrong = writer.followChanges({ cursor: "nonsense" }).next();
  await assert.rejects(wrong, { name: "CallHistoryError", status: 400 });
});
