// Each panel of the call page, with every digit that was sent.
import assert from "node:assert/strict";
import { finish, run } from "./harness.mjs";
import { axeInBoth, complete, get, put } from "./call_data.mjs";

const WORKSPACE = "console-call-panels";

await run("the panels of a call", async ({ page, server, axe }) => {
  await put(server.demo, WORKSPACE, "rich", complete("https://elsewhere.example.com/rich.wav"));
  const { text } = await get(server.demo, WORKSPACE, "/rich");
  await page.goto(`${server.demo}/console#/calls/rich?workspace=${WORKSPACE}&timezone=Europe/Berlin`);
  await page.waitForSelector(".call h1");
  const content = (selector) => page.locator(selector).allInnerTexts().then((texts) => texts.join("\n"));

  const facts = await content(".call-facts");
  for (const part of ["rich", "CA-1", "+493012345678", "+18005550100", "Maya", "flow-support", "batch-7", "2:04", "€0.100000001", "Europe/Berlin"]) {
    assert.ok(facts.includes(part), `${part} in ${facts}`);
  }
  assert.match(await content(".call-title"), /ENDED.*Completed/s);
  assert.match(await content(".call-cost"), /customer_charge\s*€0\.100000001\s*telephony\s*€0\.0125/);
  const side = await content(".call-side");
  for (const part of ["9.50", "12345678901234567890123", "language", "Record created", "lookup_order"]) assert.ok(side.includes(part), part);
  const main = await content(".call-main");
  for (const part of ["A-1009", "59.90", "1.50", "find_parcel", "The caller asked about a late parcel."]) assert.ok(main.includes(part), part);
  // Its host is not configured: a link, and no player.
  const link = page.locator(".call-recording-link a");
  assert.deepEqual([await link.getAttribute("href"), await link.getAttribute("rel")], ["https://elsewhere.example.com/rich.wav", "noreferrer noopener"]);
  assert.equal(await page.locator("audio").count(), 0);

  await page.getByText("Show the record").click();
  const raw = await page.locator('pre[aria-label="Record as JSON"]').textContent();
  assert.equal(raw.replace(/\n */g, "").replaceAll('": ', '":'), text, "the raw record is the response, digit for digit");
  await page.getByText("curl", { exact: true }).click();
  assert.ok((await page.locator('pre[aria-label="curl"]').textContent()).includes(`x-workspace-id: ${WORKSPACE}`));
  await page.getByText("Rust", { exact: true }).click();
  assert.ok((await page.locator('pre[aria-label="Rust"]').textContent()).includes('client.get_call("rich").await?'));
  await axeInBoth(page, axe);
});

await run("copying the facts and the record of a call", async ({ page, server }) => {
  await put(server.demo, WORKSPACE, "copied", complete("https://elsewhere.example.com/rich.wav"));
  const { text } = await get(server.demo, WORKSPACE, "/copied");
  await page.goto(`${server.demo}/console#/calls/copied?workspace=${WORKSPACE}&status=ENDED`);
  const copied = async (button) => {
    await button.click();
    await page.waitForFunction(() => document.querySelector("#live").textContent.startsWith("Copied"));
    await page.evaluate(() => { document.querySelector("#live").textContent = ""; });
    return page.evaluate(() => navigator.clipboard.readText());
  };
  assert.equal(await copied(page.getByRole("button", { name: "Copy: ID", exact: true })), "copied");
  assert.equal(await copied(page.getByRole("button", { name: "Copy: Cost" })), "0.100000001");
  assert.equal(await copied(page.getByRole("button", { name: "Copy: JSON" })), text);
  const link = await copied(page.getByRole("button", { name: "Copy: link" }));
  assert.equal(link, `${server.demo}/console#/calls/copied?workspace=${WORKSPACE}`, "a permalink has no filters");
}, { permissions: ["clipboard-read", "clipboard-write"] });

await run("the states of the call page", async ({ page, server, axe }) => {
  const answer = (status, body) => page.route("**/v2/api/call-history/gone", (route) => (status === 0 ? route.abort()
    : route.fulfill({ status, contentType: "application/problem+json", body: JSON.stringify({ status, ...body }) })));
  const open = async () => {
    await page.goto("about:blank");
    await page.goto(`${server.demo}/console#/calls/gone?workspace=${WORKSPACE}`);
    await page.waitForSelector(".state h2");
    return page.locator(".state").innerText();
  };
  await put(server.demo, WORKSPACE, "gone", { status: "completed" });
  await fetch(`${server.demo}/v2/api/call-history/gone`, { method: "DELETE", headers: { "x-workspace-id": WORKSPACE } });
  assert.match(await open(), /There is no such call[\s\S]*deleted[\s\S]*To the list[\s\S]*Look for this ID/);
  await axeInBoth(page, axe);
  await answer(403, { code: "insufficient_scope", detail: "the key lacks the scope calls:read" });
  assert.match(await open(), /calls:read[\s\S]*Use another key/);
  await axeInBoth(page, axe);
  await page.unroute("**/v2/api/call-history/gone");
  await answer(503, { code: "unavailable", detail: "try later" });
  assert.match(await open(), /try later[\s\S]*Try again/);
  await page.unroute("**/v2/api/call-history/gone");
  await answer(0);
  assert.match(await open(), /cannot be reached[\s\S]*Try again/);
  await page.unroute("**/v2/api/call-history/gone");
  await put(server.demo, WORKSPACE, "gone", { status: "completed", fromPhoneNumber: "+4930123" });
  await page.getByRole("button", { name: "Try again" }).click();
  await page.waitForSelector(".call h1");
}, { allow: [/status of (404|403|503)/, /ERR_FAILED/] });

await finish();
