// The page is fast: what it loads before the first rows, and what ten thousand changes cost. Machines may be busy, so a test asserts
// what was done, and prints how long it took.
import { check, finish, run, server, WORKSPACE } from "./harness.mjs";

const BASE = "/v2/api/call-history";
const REFUSED = { allow: [/status of 40[034]/] };
/** Rows that one frame may draw. */
const CHUNK = 20;
const START = 1_790_000_000;
const CHANGES = 10_000;

/** The first rows of a browser that knows no file of the page. */
await run("the first rows need one round trip for all modules", async ({ page, open }) => {
  const asked = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await page.addInitScript(() => {
    const observer = new MutationObserver(() => {
      if (document.querySelector(".calls-row") === null) return;
      observer.disconnect();
      requestAnimationFrame(() => { globalThis.firstRows = performance.now(); });
    });
    observer.observe(document, { childList: true, subtree: true });
  });
  await open(`#/calls?workspace=${WORKSPACE}`);
  await page.waitForFunction(() => globalThis.firstRows !== undefined);
  const modules = asked.filter((path) => path.endsWith(".js"));
  console.log(`    first rows after ${Math.round(await page.evaluate(() => globalThis.firstRows))} ms, ${modules.length} modules`);
  // The first module asks for this as soon as it runs.
  const ran = asked.indexOf("/console/config.json");
  check(ran > 0 && asked.some((path) => path.startsWith(BASE)), asked.join("\n"));
  const late = asked.slice(ran).filter((path) => path.endsWith(".js"));
  check(late.length === 0, `asked for after the first module ran: ${late.join()}`);
  check(modules.length > 30 && new Set(modules).size === modules.length, `${modules.length} modules, some of them twice`);
}, REFUSED);

/** Writes calls to a workspace. */
async function write(workspace, calls) {
  const response = await fetch(`${server.demo}${BASE}/batch`, {
    method: "POST", headers: { "x-workspace-id": workspace, "content-type": "application/x-ndjson" }, body: calls.map((call) => JSON.stringify(call)).join("\n"),
  });
  check(response.ok, await response.text());
}
const call = (number) => ({ _id: `many-${number}`, startTime: START + number, status: "completed", direction: "inbound", summary: "a".repeat(100) });

/** Records what each frame draws, and the long tasks. */
function record() {
  globalThis.seen = { renders: 0, largest: 0, tasks: [], frames: [] };
  const { seen } = globalThis;
  const isRow = (node) => node instanceof Element && node.matches(".calls-row");
  new MutationObserver((changes) => {
    const added = changes.flatMap((change) => [...change.addedNodes]).filter(isRow).length;
    seen.renders += 1;
    seen.largest = Math.max(seen.largest, added);
  }).observe(document.querySelector("#app"), { childList: true, subtree: true, characterData: true });
  new PerformanceObserver((list) => seen.tasks.push(...list.getEntries().map((entry) => Math.round(entry.duration)))).observe({ type: "longtask" });
  let last = performance.now();
  const frame = (now) => {
    seen.frames.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}

/** The memory of the page after a collection. */
async function memory(page) {
  const session = await page.context().newCDPSession(page);
  await session.send("HeapProfiler.collectGarbage");
  const { usedSize } = await session.send("Runtime.getHeapUsage");
  const { nodes } = await session.send("Memory.getDOMCounters");
  await session.detach();
  return { usedSize, nodes };
}

await run("ten thousand followed changes are few renders of few rows, and no memory", async ({ page, open }) => {
  const workspace = `speed-${process.pid}`;
  await write(workspace, Array.from({ length: 200 }, (_, number) => call(number)));
  let requests = 0;
  page.on("request", (request) => {
    if (request.url().includes(`${BASE}?`)) requests += 1;
  });
  await page.mouse.move(2, 2);
  await open(`#/calls?workspace=${workspace}&follow=1&limit=200`);
  await page.waitForSelector("[data-follow=live]");
  await page.waitForSelector(".calls-table[aria-busy=false]");
  const before = await memory(page);
  await page.evaluate(record);
  const [asked, started] = [requests, Date.now()];
  for (let at = 200; at < 200 + CHANGES; at += 500) await write(workspace, Array.from({ length: 500 }, (_, number) => call(at + number)));
  await page.waitForFunction((last) => document.querySelector(".calls-link")?.hash.includes(last), `many-${199 + CHANGES}?`);
  await page.waitForSelector(".calls-table[aria-busy=false]");
  const seconds = (Date.now() - started) / 1000;
  const seen = await page.evaluate(() => globalThis.seen);
  const after = await memory(page);
  const frames = seen.frames.toSorted((a, b) => b - a);
  console.log(`    ${CHANGES} changes in ${seconds} s: ${requests - asked} requests, ${seen.renders} renders, long tasks ${seen.tasks.join() || "none"} ms,`
    + ` longest frames ${frames.slice(0, 3).map(Math.round).join()} of ${frames.length}, ${after.usedSize - before.usedSize} bytes`);
  check(await page.locator(".calls-row").count() === 200, "more rows than a page are drawn");
  check(requests - asked <= seconds + 3, `${requests - asked} requests in ${seconds} s`);
  check(seen.largest <= CHUNK, `${seen.largest} rows in one frame`);
  // A refresh draws a page in ten frames; counts and announcements are a few more.
  check(seen.renders <= (requests - asked + 1) * (200 / CHUNK + 10), `${seen.renders} renders for ${requests - asked} refreshes`);
  check(after.usedSize - before.usedSize < 4_000_000 && after.nodes < before.nodes * 2, `${JSON.stringify(before)} ${JSON.stringify(after)}`);
}, REFUSED);

/** Answers for the change feed with one chunk, and counts the events that are taken without a pause: each is read as JSON. */
function burst(count) {
  const text = Array.from({ length: count }, (_, at) => `id: c${at}\nevent: deleted\ndata: {"_id":"gone-${at}"}\n\n`).join("");
  const [fetched, parse, channel] = [globalThis.fetch, JSON.parse, new MessageChannel()];
  let atOnce = 0;
  globalThis.burst = { taken: 0, largest: 0 };
  globalThis.fetch = (url, options) => {
    if (!String(url).includes("/changes?")) return fetched(url, options);
    return Promise.resolve(new Response(new ReadableStream({ start: (stream) => stream.enqueue(new TextEncoder().encode(text)) })));
  };
  JSON.parse = (json) => {
    if (json.includes("gone-")) {
      atOnce += 1;
      globalThis.burst.taken += 1;
      globalThis.burst.largest = Math.max(globalThis.burst.largest, atOnce);
    }
    return parse(json);
  };
  channel.port1.onmessage = () => {
    atOnce = 0;
    channel.port2.postMessage(null);
  };
  channel.port2.postMessage(null);
}

await run("changes that arrive at once are taken in parts", async ({ page, open }) => {
  await page.addInitScript(burst, CHANGES);
  await open(`#/calls?workspace=${WORKSPACE}&follow=1`);
  await page.waitForFunction((count) => globalThis.burst.taken === count, CHANGES);
  const { largest } = await page.evaluate(() => globalThis.burst);
  check(largest <= 200, `${largest} changes without a pause`);
}, REFUSED);

await finish();
