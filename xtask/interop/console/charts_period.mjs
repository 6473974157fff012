// The period of the charts: by pointer, by keyboard, by dates, by presets; and the states of the page.
import assert from "node:assert/strict";
import { check, finish, run, VARIANTS, variantName } from "./harness.mjs";
import { axeInBoth, put } from "./call_data.mjs";

const WORKSPACE = "console-charts-period";
/** Midnight of 1 June 2025 in UTC. */
const JUNE = 1_748_736_000;
const PERIOD = "startedAfter=2025-06-01&startedBefore=2025-07-01&timezone=UTC";

async function fill(base) {
  for (let day = 0; day < 30; day += 1) {
    for (let call = 0; call <= day % 3; call += 1) {
      await put(base, WORKSPACE, `call-${day}-${call}`, { status: call === 0 ? "completed" : "failed", startTime: JUNE + day * 86_400 + call * 3600, agentId: "a" });
    }
  }
}

async function open(page, base, query, workspace = WORKSPACE) {
  await page.goto("about:blank");
  await page.goto(`${base}/console#/charts?workspace=${workspace}&${query}`);
  await page.waitForSelector(".charts[aria-busy=false]");
}

/** The bounds of the URL after a change. */
async function bounds(page, change) {
  const before = await page.evaluate(() => location.hash);
  await change();
  await page.waitForFunction((hash) => location.hash !== hash, before);
  await page.waitForSelector(".charts[aria-busy=false]");
  return page.evaluate(() => {
    const params = new URLSearchParams(location.hash.split("?")[1]);
    return [params.get("startedAfter"), params.get("startedBefore")];
  });
}

const calls = (page) => page.locator(".kpi:first-child .kpi-value").innerText();

await run("a drag over bars chooses their days", async ({ page, server }) => {
  await fill(server.demo);
  await open(page, server.demo, PERIOD);
  const box = await page.locator(".chart .u-over").boundingBox();
  const at = (bar) => box.x + (box.width * (bar + 0.5)) / 30;
  const chosen = await bounds(page, async () => {
    await page.mouse.move(at(3), box.y + 40);
    await page.mouse.down();
    await page.mouse.move(at(6), box.y + 60, { steps: 4 });
    await page.mouse.up();
  });
  assert.deepEqual(chosen, ["2025-06-04T00:00:00Z", "2025-06-08T00:00:00Z"]);
  assert.equal(await calls(page), "7");
  await page.goBack();
  await page.waitForFunction(() => document.querySelector(".kpi .kpi-value")?.textContent.trim() === "60");
});

await run("a click on a bar leads to its calls", async ({ page, server }) => {
  await fill(server.demo);
  await open(page, server.demo, PERIOD);
  const box = await page.locator(".chart .u-over").boundingBox();
  await page.locator(".chart .u-over").click({ position: { x: (box.width * 2.5) / 30, y: box.height - 10 } });
  await page.waitForFunction(() => location.hash.startsWith("#/calls?"));
  check((await page.evaluate(() => decodeURIComponent(location.hash))).includes("startedAfter=2025-06-03T00:00:00Z&startedBefore=2025-06-04T00:00:00Z"), "the day of the bar");
});

await run("the keyboard chooses days", async ({ page, server, axe }) => {
  await fill(server.demo);
  await open(page, server.demo, PERIOD);
  await page.locator(".chart").focus();
  const chosen = await bounds(page, async () => {
    for (const key of ["Home", "ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight"]) await page.keyboard.press(key);
    await page.waitForFunction(() => document.querySelector("#live").textContent.includes("6 calls. Press Enter"));
    await page.keyboard.press("Enter");
  });
  assert.deepEqual(chosen, ["2025-06-02T00:00:00Z", "2025-06-05T00:00:00Z"]);
  const dated = await bounds(page, async () => {
    await page.getByLabel("From", { exact: true }).fill("2025-06-10");
    await page.getByLabel("To", { exact: true }).fill("2025-06-12");
    await page.getByRole("button", { name: "Apply" }).press("Enter");
  });
  assert.deepEqual(dated, ["2025-06-10T00:00:00Z", "2025-06-13T00:00:00Z"]);
  assert.equal(await calls(page), "6");
  await axeInBoth(page, axe);
});

await run("filters change the figures, and every state is in the URL", async ({ page, server }) => {
  await fill(server.demo);
  await open(page, server.demo, `${PERIOD}&status=failed`);
  assert.equal(await calls(page), "30");
  check((await page.locator(".filters-chips").innerText()).includes("failed"), "the filter is shown");
  await page.reload();
  await page.waitForSelector(".charts[aria-busy=false]");
  assert.equal(await calls(page), "30");
  await page.getByRole("button", { name: "Any time" }).click();
  await page.waitForFunction(() => location.hash.includes("range=all") && document.querySelector(".charts[aria-busy=false]"));
  assert.equal(await calls(page), "30");
  // All time filters nothing, once the page is drawn with it.
  await page.waitForFunction(() => document.querySelector(".filters-chips")?.textContent.includes("all") === false);
  await page.getByRole("button", { name: "Remove Status" }).click();
  await page.waitForFunction(() => !location.hash.includes("status=") && document.querySelector(".kpi .kpi-value")?.textContent.trim() === "60");
});

await run("no calls, a refusal, a server that fails", async ({ page, server, axe }) => {
  await open(page, server.demo, "range=7d", "console-charts-empty");
  assert.match(await page.locator(".state").innerText(), /No calls in this period[\s\S]*All time[\s\S]*To the list/);
  await axeInBoth(page, axe);
  await open(page, server.demo, "range=all", "console-charts-empty");
  assert.match(await page.locator(".state").innerText(), /No calls in this period/);
  await open(page, server.demo, `${PERIOD}&minDuration=oops`);
  assert.match(await page.locator(".state-error").first().innerText(), /minDuration/);
  await page.route("**/metrics?*", (route) => route.fulfill({ status: 503, contentType: "application/problem+json", body: '{"code":"unavailable","detail":"try later"}' }));
  await open(page, server.demo, PERIOD);
  assert.match(await page.locator(".state-error").first().innerText(), /try later[\s\S]*Try again/);
  await page.unroute("**/metrics?*");
  await page.getByRole("button", { name: "Try again" }).first().click();
  await page.waitForSelector(".kpi");
  await page.route("**/metrics?*", (route) => route.fulfill({ status: 403, contentType: "application/problem+json", body: '{"code":"insufficient_scope","detail":"the key lacks the scope calls:read"}' }));
  await open(page, server.demo, PERIOD);
  assert.match(await page.locator(".state-error").first().innerText(), /calls:read[\s\S]*Use another key/);
}, { allow: [/status of (400|403|503)/] });

for (const variant of VARIANTS) {
  await run(`the charts of the demonstration, ${variantName(variant)}`, async ({ page, server, axe }) => {
    await open(page, server.demo, "", "demo");
    await page.waitForSelector(".heat a, .heat button");
    await axe();
    check(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page scrolls sideways");
    await page.locator(".legend a").first().click();
    await page.waitForFunction(() => location.hash.startsWith("#/calls?"));
  }, variant);
}

await finish();
