// Imports of files: counts, rejected lines with reasons, the report as text, a server that refuses, and a hostile file.
import { readFileSync } from "node:fs";
import { check, finish, run, VARIANTS, variantName, server } from "./harness.mjs";

/** Chooses a file and imports it. */
async function importFile(page, name, text, { prepare = async () => {} } = {}) {
  await page.waitForSelector(".operate");
  const before = await page.locator(".operate-jobs > li").count();
  await page.setInputFiles("input[type=file]", { name, mimeType: "application/octet-stream", buffer: Buffer.from(text) });
  await page.waitForSelector(".operate-options");
  await prepare();
  await page.locator(".operate-options button[type=submit]").click();
  await page.locator(".operate-jobs > li").nth(before).locator("h3", { hasText: /: (done|failed)/ }).waitFor();
}

/** @returns {Promise<string>} such as "2 created" for a count of the last report */
const count = (page, name) => page.locator(".operate-counts").last().locator("div", { hasText: name }).locator("dd").innerText();

const LINES = Array.from({ length: 30 }, (_, at) => (at % 3 === 2 ? "{broken" : JSON.stringify({ _id: `import-${at}`, odd: at })));

for (const variant of VARIANTS) {
  await run(`an import with rejected lines, ${variantName(variant)}`, async ({ page, open, axe }) => {
    await open(`#/operate?workspace=import-${variant.colorScheme}-${variant.viewport.width}`);
    await importFile(page, "calls.ndjson", LINES.join("\n"), { prepare: axe });
    check(await count(page, "created") === "20", "20 records were expected to be created");
    check(await count(page, "rejected") === "10", "10 records were expected to be rejected");
    await axe();
    const overflows = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    check(!overflows, "the page scrolls sideways");
  }, variant);
}

await run("the report is downloaded as text", async ({ page, open }) => {
  await open("#/operate?workspace=import-text");
  await importFile(page, "calls.ndjson", LINES.join("\n"));
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download the report" }).click()]);
  check(file.suggestedFilename() === "calls.ndjson.report.txt", file.suggestedFilename());
  const text = readFileSync(await file.path(), "utf8");
  check(text.includes("rejected: 10") && text.includes("error\tline 3\t") && text.includes("warning\tline 1\t/odd"), text);
});

await run("the name chooses the format, and the form the mode", async ({ page, open }) => {
  await open("#/operate?workspace=import-format");
  await importFile(page, "calls.csv", "_id,status\r\na,busy\r\nb,completed\r\n");
  check(await count(page, "created") === "2", "CSV was not read");
  await importFile(page, "calls.json", "[{\"_id\": \"a\", \"status\": \"failed\"}]", {
    prepare: () => page.getByLabel("If a record exists").selectOption("create"),
  });
  check(await count(page, "rejected") === "1", "the mode was not used");
  await importFile(page, "strict.json", "[{\"_id\": \"c\", \"odd\": 1}]", {
    prepare: () => page.getByLabel("Unknown members").selectOption("strict"),
  });
  check(await count(page, "rejected") === "1", "the handling was not used");
}, { allow: [/status of 422/] });

await run("a hostile file is shown as text", async ({ page, open }) => {
  await open("#/operate?workspace=import-hostile");
  const hostile = "<img src=x onerror=alert(1)>\"'`${x}<script>alert(1)</script>";
  await importFile(page, `${hostile.replaceAll("/", "")}.json`, JSON.stringify([{ _id: "a", [hostile]: 1 }]));
  check(await page.locator("main img, main script").count() === 0, "a text became an element");
  check((await page.locator(".operate-lines").innerText()).length > 0, "there is no warning");
});

await run("a refused import says what the key lacks", async ({ page, open }) => {
  await open("#/operate?workspace=acme", server.keyed);
  await page.locator(".sign-in input[name=workspace]").fill("acme");
  await page.locator(".sign-in input[name=key]").fill(server.keys.masked);
  await page.locator(".sign-in button[type=submit]").click();
  await importFile(page, "calls.json", "[{\"_id\": \"a\"}]");
  await page.locator(".operate-jobs .state-error", { hasText: "calls:write" }).waitFor();
}, { allow: [/status of 403/] });

await run("a lost connection can be tried again", async ({ page, open }) => {
  let isDown = true;
  await page.route("**/batch*", (route) => (isDown ? route.abort() : route.continue()));
  await open("#/operate?workspace=import-lost");
  await importFile(page, "calls.json", "[{\"_id\": \"a\"}]");
  await page.getByText("The server cannot be reached").waitFor();
  isDown = false;
  await page.getByRole("button", { name: "Try again" }).click();
  await page.locator(".operate-counts").waitFor();
  check(await count(page, "created") === "1", "the retry did not import");
}, { allow: [/ERR_FAILED/] });

await finish();
