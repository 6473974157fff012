// Export of the list and of selected calls: what is asked, what is saved, and what is said when it fails. And the copied code.
import { readFileSync } from "node:fs";
import { check, finish, run, WORKSPACE } from "./harness.mjs";

const LIST = `#/calls?workspace=${WORKSPACE}`;
const EXPORT = "**/v2/api/call-history/export?*";
const REFUSED = { allow: [/status of 40[034]/] };

/** Opens the dialog of a list. */
async function dialog(page, open, query = "") {
  await open(`${LIST}${query}`);
  await page.waitForSelector(".calls-row");
  await page.locator(".calls-actions").getByRole("button", { name: "Export" }).click();
  await page.waitForSelector(".calls-export[open]");
}
const choose = (page, format) => page.locator(`[data-format=${format}]`).click();
const download = async (page, format) => {
  const [file] = await Promise.all([page.waitForEvent("download"), choose(page, format)]);
  return [file.suggestedFilename(), readFileSync(await file.path(), "utf8")];
};

await run("the whole filtered list is exported, and the dialog is accessible", async ({ page, open, axe }) => {
  await dialog(page, open, "&status=failed");
  await axe();
  const total = Number((await page.locator(".calls-total").innerText()).replace(/\D/g, ""));
  const [name, text] = await download(page, "ndjson");
  check(/^calls-demo-.*\.ndjson$/.test(name), name);
  const calls = text.trim().split("\n").map((line) => JSON.parse(line));
  check(calls.length === total && calls.every((call) => call.status === "failed"), `${calls.length} of ${total}`);
  await page.locator(".calls-export [role=status]", { hasText: "is saved" }).waitFor();
  const [, csv] = await download(page, "csv");
  check(csv.split("\r\n").length === total + 2, "the lines of the CSV are others");
}, REFUSED);

await run("selected calls are exported", async ({ page, open }) => {
  await open(LIST);
  const boxes = page.locator(".calls-row input");
  await boxes.nth(1).click();
  await boxes.nth(3).click({ modifiers: ["Shift"] });
  const links = await page.locator(".calls-link").evaluateAll((all) => all.slice(1, 4).map((link) => link.hash.split("?")[0].slice("#/calls/".length)));
  await page.getByRole("button", { name: "Export these" }).click();
  await page.waitForSelector(".calls-export[open]");
  const [, text] = await download(page, "ndjson");
  const ids = text.trim().split("\n").map((line) => JSON.parse(line)._id);
  check(ids.sort().join() === links.sort().join(), `${ids} instead of ${links}`);
}, REFUSED);

await run("every format is asked for, with its zone and columns", async ({ page, open }) => {
  const asked = [];
  await page.route(EXPORT, (route) => {
    asked.push(new URL(route.request().url()).searchParams);
    return route.fulfill({ contentType: "application/octet-stream", body: "x" });
  });
  await dialog(page, open, "&timezone=Europe/Berlin&range=7d&sort=cost&columns=started,cost");
  await page.getByLabel("Shown columns only").check();
  for (const format of ["csv", "xlsx", "ndjson", "parquet"]) await download(page, format);
  check(asked.map((params) => params.get("format")).join() === "csv,xlsx,ndjson,parquet", asked.join(" "));
  check(asked.every((params) => params.get("sort") === "cost" && params.has("startedAfter") && params.get("fields").startsWith("_id,startTime,createdAt,cost")), asked.join(" "));
  check(asked[1].get("fields").endsWith("cost.customer_charge,cost.currency"), `${asked[1]}`);
  check(asked[1].get("timezone") === "Europe/Berlin", "the workbook has no zone");
}, REFUSED);

await run("an export that is broken off says so, and saves nothing", async ({ page, open, axe }) => {
  let downloads = 0;
  page.on("download", () => { downloads += 1; });
  await page.addInitScript(() => {
    const original = globalThis.fetch;
    globalThis.fetch = (url, options) => {
      if (!String(url).includes("/export?")) return original(url, options);
      let parts = 0;
      const body = new ReadableStream({
        pull(controller) {
          parts += 1;
          if (parts > 3) controller.error(new TypeError("network error"));
          else controller.enqueue(new Uint8Array(1000));
        },
      });
      return Promise.resolve(new Response(body));
    };
  });
  await dialog(page, open);
  await choose(page, "csv");
  await page.locator(".calls-export .filters-error", { hasText: "3 kB" }).waitFor();
  await axe();
  check(downloads === 0, "a part was saved");
}, REFUSED);

await run("an export that is refused says why, and one of a key without its scope names it", async ({ page, open }) => {
  let status = 400;
  await page.route(EXPORT, (route) => route.fulfill({
    status, contentType: "application/problem+json",
    body: JSON.stringify(status === 403 ? { status, code: "insufficient_scope", detail: "lacks the scope calls:export" } : { status, detail: "format: is not there" }),
  }));
  await dialog(page, open);
  await choose(page, "parquet");
  await page.locator(".calls-export .filters-error", { hasText: "format: is not there" }).waitFor();
  status = 403;
  await choose(page, "csv");
  await page.locator(".calls-export .filters-error", { hasText: "calls:export" }).waitFor();
}, REFUSED);

await run("an export can be cancelled", async ({ page, open }) => {
  const held = [];
  await page.route(EXPORT, (route) => { held.push(route); });
  await dialog(page, open);
  await choose(page, "csv");
  await page.locator(".calls-export").getByRole("button", { name: "Cancel" }).click();
  await page.locator("[data-format=csv]:enabled").waitFor();
  check(await page.locator(".calls-export .filters-error").count() === 0, "a cancelled export is called an error");
}, { allow: [/status of 4/, /ERR_/] });

await run("the copied command and code have the filter and never the key", async ({ page, open }) => {
  const key = "chk_0123456789abcdefghijklmnop";
  await page.addInitScript((secret) => sessionStorage.setItem("callhistory.key", secret), key);
  await page.route("**/v2/api/call-history**", (route) => route.fallback({ headers: { ...route.request().headers(), "x-api-key": "" } }));
  await dialog(page, open, `&agentId=${encodeURIComponent("it's $(x) `y`")},agent-lena`);
  await page.locator(".calls-code summary").first().click();
  await page.locator(".calls-code summary").last().click();
  const [curl, rust] = await page.locator(".calls-code pre").allInnerTexts();
  check(curl.includes("agentId=it%27s+%24%28x%29+%60y%60%2Cagent-lena") && curl.includes("$CALLHISTORY_API_KEY"), curl);
  check(rust.includes("ListQuery::from_query") && rust.includes("CALLHISTORY_API_KEY"), rust);
  check(!`${curl}${rust}${page.url()}`.includes(key), "the key is shown");
}, REFUSED);

await finish();
