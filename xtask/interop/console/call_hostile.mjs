// Content of someone else in every member is text, on the call page and in the charts.
import assert from "node:assert/strict";
import { finish, run } from "./harness.mjs";
import { axeInBoth, HOSTILE, put, START } from "./call_data.mjs";

const WORKSPACE = "console-call-hostile";
const x = HOSTILE;

await run("hostile content in every member", async ({ page, server, axe }) => {
  const dialogs = [];
  page.on("dialog", (dialog) => { dialogs.push(dialog.message()); void dialog.dismiss(); });
  const texts = Object.fromEntries(["agentId", "agent", "callFlowId", "callFlowName", "roomName", "direction", "fromPhoneNumber", "toPhoneNumber", "status", "callId", "batchId", "callType", "summary"].map((name) => [name, x]));
  await put(server.demo, WORKSPACE, "hostile", {
    ...texts, recordingUrl: "javascript:alert(1)", startTime: START, endTime: START - 5, cost: { customer_charge: 1, currency: "EUR" },
    analyzedData: { [x]: x, nested: { [x]: [x, { [x]: x }] } }, metadata: { [x]: x, constructor: x, toString: x }, variables: { [x]: x }, [x]: x,
    functionCalls: [{ name: x, arguments: x, result: x }, x, null, [x]],
    transcript: [{ role: x, content: x, time: x }, x, { role: "tool", name: x, content: x }, { role: "user", content: [{ type: "text", text: x }] }, { role: { [x]: x }, words: [x] }, 7, [x]],
  }, "lenient");
  await page.goto(`${server.demo}/console#/calls/hostile?workspace=${WORKSPACE}&q=${encodeURIComponent("img alert")}`);
  await page.waitForSelector(".call h1");
  for (const closed = page.locator("details:not([open]) > summary"); await closed.count() > 0;) await closed.first().click();
  const isClean = () => page.evaluate(() => document.querySelectorAll("main img, main script, main iframe, main [onload], main [onerror]").length);
  assert.equal(await isClean(), 0);
  assert.ok((await page.locator(".call").innerText()).includes("<img src=x onerror=alert(1)>"));
  const schemes = await page.locator("main a").evaluateAll((links) => [...new Set(links.map((link) => new URL(link.href).protocol))]);
  assert.deepEqual(schemes, ["http:"], "no link of another scheme");
  await axeInBoth(page, axe);
  await page.goto(`${server.demo}/console#/charts?workspace=${WORKSPACE}&range=all`);
  await page.waitForSelector(".heat a");
  assert.equal(await isClean(), 0);
  assert.ok((await page.locator(".bars").first().innerText()).includes("<img src=x onerror=alert(1)>"));
  // The link of a value with signs of the set syntax leads to its call.
  await page.locator(".bars tbody a").first().click();
  await page.waitForFunction(() => location.hash.startsWith("#/calls?"));
  assert.deepEqual(dialogs, []);
});

await finish();
