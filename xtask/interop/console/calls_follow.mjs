// The list follows the changes of its workspace: nothing is missed, and no row moves under the pointer.
import { check, finish, run, server } from "./harness.mjs";

const REFUSED = { allow: [/status of 40[034]/] };
const BASE = "/v2/api/call-history";

/** Writes calls to a workspace of the demonstration. */
async function write(workspace, calls) {
  const response = await fetch(`${server.demo}${BASE}/batch`, {
    method: "POST", headers: { "x-workspace-id": workspace, "content-type": "application/x-ndjson" }, body: calls.map((call) => JSON.stringify(call)).join("\n"),
  });
  check(response.ok, await response.text());
}
const call = (id, start, more = {}) => ({ _id: id, startTime: start, status: "completed", direction: "inbound", ...more });
/** A workspace that no other run has. */
const own = (name) => `follow-${name}-${process.pid}`;
const START = 1_790_000_000;
const older = (count) => Array.from({ length: count }, (_, at) => call(`old-${at}`, START + at));

/** A workspace of its own with some calls, followed. */
async function followed(page, open, workspace, { count = 30, query = "" } = {}) {
  await write(workspace, older(count));
  await page.mouse.move(2, 2);
  await open(`#/calls?workspace=${workspace}&follow=1${query}`);
  await page.waitForSelector("[data-follow=live]");
  await page.locator(".calls-row").nth(Math.min(count, 20) - 1).waitFor();
}
const ids = (page) => page.locator(".calls-link").evaluateAll((links) => links.map((link) => link.hash.split("?")[0].slice("#/calls/".length)));
const first = (page, id) => page.waitForFunction((wanted) => document.querySelector(".calls-link")?.hash.startsWith(`#/calls/${wanted}?`), id);

await run("new calls come in at the top while nobody points at the list", async ({ page, open }) => {
  await followed(page, open, own("top"));
  await write(own("top"), [call("new-1", START + 1000)]);
  await first(page, "new-1");
  await write(own("top"), [call("new-2", START + 2000), call("new-3", START + 3000)]);
  await first(page, "new-3");
  check((await ids(page)).slice(0, 4).join() === "new-3,new-2,new-1,old-29", (await ids(page)).join());
}, REFUSED);

await run("rows stay where they are under the pointer, and change in place", async ({ page, open, axe }) => {
  await followed(page, open, own("still"));
  const row = page.locator(".calls-row").nth(4);
  await row.hover();
  const place = async () => JSON.stringify([await ids(page), (await row.boundingBox()).y]);
  const before = await place();
  await write(own("still"), [call("new-1", START + 1000), call("old-25", START + 25, { status: "failed" })]);
  await page.locator(".calls-news", { hasText: "1 new call" }).waitFor();
  await row.locator(".chip-error").waitFor();
  await fetch(`${server.demo}${BASE}/old-20`, { method: "DELETE", headers: { "x-workspace-id": own("still") } });
  await page.waitForSelector(".calls-deleted");
  const after = await place();
  check(before === after, `${before} ${after}`);
  await axe();
  await page.locator(".calls-news").click();
  await first(page, "new-1");
  check(!(await ids(page)).includes("old-20"), "the deleted call is still there");
}, REFUSED);

await run("calls that wait come in when the pointer leaves, not while a row has the focus", async ({ page, open }) => {
  await followed(page, open, own("leave"));
  await page.keyboard.press("j");
  await write(own("leave"), [call("new-1", START + 1000)]);
  await page.waitForSelector(".calls-news");
  check((await ids(page))[0] === "old-29", "a row moved under the focus");
  await page.keyboard.press("Escape");
  await first(page, "new-1");
}, REFUSED);

await run("a pause misses nothing", async ({ page, open }) => {
  await followed(page, open, own("pause"));
  await page.getByRole("button", { name: "Pause" }).click();
  await page.waitForSelector("[data-follow=paused]");
  await write(own("pause"), [call("new-1", START + 1000)]);
  check((await ids(page))[0] === "old-29", "the list was not paused");
  await page.getByRole("button", { name: "Resume" }).click();
  await first(page, "new-1");
}, REFUSED);

await run("a stream that breaks is resumed after its last event, and misses nothing", async ({ page, open }) => {
  await write(own("break"), older(30));
  const end = await fetch(`${server.demo}${BASE}/changes?cursor=latest`, { headers: { "x-workspace-id": own("break") } });
  const { cursor } = await end.json();
  const streams = [];
  await page.route(`**${BASE}/changes*`, async (route) => {
    streams.push(route.request().headers()["last-event-id"] ?? "");
    // The first stream has one event and breaks; a call is written before the second one.
    if (streams.length === 1) return route.fulfill({ contentType: "text/event-stream", body: `retry: 100\nid: ${cursor}\nevent: updated\ndata: {}\n\n` });
    if (streams.length === 2) await write(own("break"), [call("new-1", START + 1000)]);
    return route.fallback();
  });
  await page.mouse.move(2, 2);
  await open(`#/calls?workspace=${own("break")}&follow=1`);
  await first(page, "new-1");
  check(streams[0] === "" && streams[1] === cursor, `resumed at ${streams[1]} instead of ${cursor}`);
}, REFUSED);

await run("on a later page, rows stay, and what is new is named", async ({ page, open, axe }) => {
  await followed(page, open, own("page"), { query: "&limit=25" });
  await page.keyboard.press("]");
  await page.locator(".calls-pager", { hasText: "Page 2" }).waitFor();
  await page.locator(".calls-row").nth(5).waitFor({ state: "detached" });
  await write(own("page"), [call("new-1", START + 1000)]);
  await page.locator(".calls-news").waitFor();
  await axe();
  check((await ids(page))[0] === "old-4", "another page is shown");
  await page.locator(".calls-news").click();
  await first(page, "new-1");
}, REFUSED);

await run("a filter applies to followed calls", async ({ page, open }) => {
  await followed(page, open, own("filter"), { query: "&direction=inbound" });
  await write(own("filter"), [call("new-1", START + 1000, { direction: "outbound" }), call("new-2", START + 2000)]);
  await first(page, "new-2");
  check(!(await ids(page)).includes("new-1"), "a call that does not match is shown");
}, REFUSED);

await finish();
