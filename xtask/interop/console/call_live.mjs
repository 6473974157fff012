// A call that goes on, and a call on paper.
import { check, finish, run } from "./harness.mjs";
import { axeInBoth, put, START } from "./call_data.mjs";

const WORKSPACE = `console-call-live-${process.pid}`;
const turns = (count) => Array.from({ length: count }, (_, at) => ({ role: at % 2 === 0 ? "agent" : "user", content: `Turn number ${at}.` }));
const record = (status, count, more = {}) => ({ status, startTime: START, fromPhoneNumber: "+4930123", transcript: turns(count), ...more });
const open = (page, server, id) => page.goto(`${server.demo}/console#/calls/${id}?workspace=${WORKSPACE}`);

await run("the page of a call that goes on follows it until it is over", async ({ page, server, axe }) => {
  await put(server.demo, WORKSPACE, "live", record("in-progress", 2));
  await open(page, server, "live");
  await page.waitForSelector(".call-watch");
  await page.getByText("curl", { exact: true }).click();
  await axeInBoth(page, axe);
  await put(server.demo, WORKSPACE, "live", record("in-progress", 3));
  await page.locator(".turn").nth(2).waitFor();
  check(/3 turns/.test(await page.locator("#live").textContent()), "the change was not announced");
  check(await page.locator('pre[aria-label="curl"]').isVisible(), "what was open is closed");
  await put(server.demo, WORKSPACE, "live", record("completed", 4, { endTime: START + 60 }));
  await page.locator(".call-watch").waitFor({ state: "detached" });
  await page.locator(".turn").nth(3).waitFor();
  await page.locator(".call-title", { hasText: "completed" }).waitFor();
  check(/is over/.test(await page.locator("#live").textContent()), "the end was not announced");
});

await run("a hidden page asks for nothing, one that is seen again asks at once", async ({ page, server }) => {
  let requests = 0;
  page.on("request", (request) => {
    if (request.url().endsWith("/v2/api/call-history/hidden")) requests += 1;
  });
  const setHidden = (isHidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, isHidden);
  await put(server.demo, WORKSPACE, "hidden", record("ringing", 1));
  await page.clock.install();
  await open(page, server, "hidden");
  await page.waitForSelector(".call-watch");
  const answered = page.waitForResponse((response) => response.url().endsWith("/hidden") && response.status() === 304);
  await page.clock.fastForward(60_000);
  await answered;
  await setHidden(true);
  const before = requests;
  for (let minutes = 0; minutes < 5; minutes += 1) await page.clock.fastForward(60_000);
  check(requests === before, `${requests - before} requests of a hidden page`);
  await put(server.demo, WORKSPACE, "hidden", record("ringing", 2));
  await setHidden(false);
  await page.clock.fastForward(1000);
  await page.locator(".turn").nth(1).waitFor();
});

await run("a call that is deleted while it is followed is said to be gone", async ({ page, server }) => {
  await put(server.demo, WORKSPACE, "deleted", record("ringing", 1));
  await open(page, server, "deleted");
  await page.waitForSelector(".call-watch");
  await fetch(`${server.demo}/v2/api/call-history/deleted`, { method: "DELETE", headers: { "x-workspace-id": WORKSPACE } });
  await page.getByText("There is no such call").waitFor();
}, { allow: [/status of 404/] });

await run("paper has the whole transcript, with long results", async ({ page, server }) => {
  const result = `${"long ".repeat(2000)}end of the result`;
  const last = { role: "tool", name: "lookup", content: result };
  await put(server.demo, WORKSPACE, "printed", { ...record("completed", 1), transcript: [...turns(900), last] });
  await open(page, server, "printed");
  await page.waitForSelector(".turn");
  check(await page.locator(".turn").count() < 901, "the whole transcript is drawn before it is asked for");
  const pdf = await page.pdf();
  check(await page.locator(".turn").count() === 901, "turns are missing on paper");
  check((await page.locator(".turn").last().textContent()).includes("end of the result"), "a result is cut on paper");
  check(pdf.toString("latin1").split("/Type /Page\n").length > 10, "the pages of the paper are missing");
});

await finish();
