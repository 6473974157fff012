// Reads through the caches of npm and of a browser as several callers. The arguments are the service, its keys, of which the
// second one gets masked numbers, and the browser, if there is one.
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import npmFetch from "make-fetch-happen";
import { chromium } from "playwright-core";

const [base, key, maskedKey, browserPath] = process.argv.slice(2);
const number = "+4915112345678";
const path = "/v2/api/call-history/node-cache";
const callers = ["node-a", "node-b"].flatMap((workspace) =>
  [key, maskedKey].map((apiKey) => ({ "x-workspace-id": workspace, "x-api-key": apiKey })),
);

for (const caller of [callers[0], callers[2]]) {
  const body = JSON.stringify({ fromPhoneNumber: number, summary: caller["x-workspace-id"].repeat(200) });
  const headers = { ...caller, "content-type": "application/json" };
  const written = await fetch(base + path, { method: "PUT", headers, body });
  if (!written.ok) throw new Error(`PUT: ${written.status}`);
}

/** Reads as each caller twice in a row, several times; `get` returns the record as a caller sees it. */
async function check(name, get) {
  for (const caller of [...callers, ...callers].flatMap((caller) => [caller, caller])) {
    const seen = await get(caller);
    const mine = seen.workspaceId === caller["x-workspace-id"];
    if (!mine || (seen.fromPhoneNumber === number) !== (caller["x-api-key"] === key)) {
      throw new Error(`${name}: ${JSON.stringify(caller)} got ${JSON.stringify(seen)}`);
    }
  }
}

const cached = npmFetch.defaults({ cachePath: mkdtempSync(join(tmpdir(), "callhistory-cache-")) });
for (const [asks, uses] of [[{}, 0], [{ "cache-control": "no-cache" }, 8], [{ "cache-control": "max-age=0" }, 8]]) {
  let used = 0;
  await check("make-fetch-happen", async (caller) => {
    const response = await cached(base + path, { headers: { ...caller, ...asks } });
    used += response.headers.get("x-local-cache-status") === "revalidated" ? 1 : 0;
    return response.json();
  });
  if (used !== uses) throw new Error(`make-fetch-happen used its cache ${used} times, not ${uses}: ${JSON.stringify(asks)}`);
}
console.log("make-fetch-happen: every caller got its own record");

if (browserPath) {
  const browser = await chromium.launch({ executablePath: browserPath, args: ["--no-sandbox"] });
  try {
    const page = await browser.newPage();
    await page.goto(`${base}/healthz`);
    for (const mode of ["default", "no-cache", "default", "reload", "no-cache", "no-store", "no-cache"]) {
      const get = (caller) =>
        page.evaluate(
          async ([url, headers, cache]) => (await fetch(url, { headers, cache })).json(),
          [path, caller, mode],
        );
      await check(`browser, ${mode}`, get);
    }
    console.log(`browser ${browser.version()}: every caller got its own record`);
  } finally {
    await browser.close();
  }
}
