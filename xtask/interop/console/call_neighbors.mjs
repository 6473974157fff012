// The calls before and after one, and its originals.
import assert from "node:assert/strict";
import { finish, run } from "./harness.mjs";
import { axeInBoth, get, put, START } from "./call_data.mjs";

const WORKSPACE = "console-call-neighbors";

await run("previous and next under the filter and the sort of the list", async ({ page, server }) => {
  // Three start at the same time; every other one is of another agent.
  const times = [5, 4, 3, 3, 3, 2, 1];
  for (const [index, time] of times.entries()) {
    await put(server.demo, WORKSPACE, `n${index}`, { status: "completed", agentId: "a", startTime: START + time, duration: (index * 7) % 5 });
    await put(server.demo, WORKSPACE, `x${index}`, { status: "completed", agentId: "b", startTime: START + time + 0.5 });
  }
  await put(server.demo, WORKSPACE, "no-time", { status: "completed", agentId: "a" });
  for (const query of ["agentId=a", "agentId=a&sort=startTime", "agentId=a&sort=-duration", "agentId=a&sort=createdAt", `agentId=a&startedAfter=${START + 2}&startedBefore=${START + 5}`]) {
    const list = JSON.parse((await get(server.demo, WORKSPACE, `?${query}&limit=100&fields=_id`)).text).map((call) => call._id);
    await page.goto("about:blank");
    await page.goto(`${server.demo}/console#/calls/${list[0]}?workspace=${WORKSPACE}&${query}`);
    const current = () => page.evaluate(() => decodeURIComponent(location.hash.split("/")[2].split("?")[0]));
    const met = [list[0]];
    for (;;) {
      await page.waitForSelector(".call-steps[data-ready]");
      if (await page.getByRole("link", { name: "Next call" }).count() === 0) break;
      const before = await page.evaluate(() => location.hash);
      await page.keyboard.press("j");
      await page.waitForFunction((hash) => location.hash !== hash, before);
      met.push(await current());
      await page.waitForFunction((id) => document.title.includes(id), met.at(-1));
    }
    assert.deepEqual(met, list, query);
    const before = await page.evaluate(() => location.hash);
    await page.keyboard.press("k");
    await page.waitForFunction((hash) => location.hash !== hash, before);
    assert.equal(await current(), list.at(-2), `${query}: back`);
  }
});

await run("originals with their warnings, as they were received", async ({ page, server, axe }) => {
  const sent = `{"start_time": ${START}000, "status":"completed","cost":0.50, "weird":{"a":1.0}}`;
  await put(server.demo, WORKSPACE, "lenient", sent, "lenient");
  await page.goto(`${server.demo}/console#/calls/lenient?workspace=${WORKSPACE}`);
  await page.waitForSelector(".original");
  const shown = await page.locator(".original").innerText();
  for (const part of ["application/json", "unit_converted", "cost_as_number", "/weird", `${sent.length} bytes`]) assert.ok(shown.includes(part), part);
  await page.getByRole("button", { name: "View original 1" }).click();
  await page.waitForSelector(".original pre");
  assert.equal(await page.locator(".original pre").textContent(), sent);
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download original 1" }).click()]);
  assert.equal(download.suggestedFilename(), "lenient-original-1.json");
  assert.match(await page.locator(".call-side").innerText(), /Further members[\s\S]*weird/);
  await axeInBoth(page, axe);
});

await finish();
