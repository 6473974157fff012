// Every number of the charts that is a link leads to exactly the calls that it counts; figures are exact, also the comparison.
import assert from "node:assert/strict";
import { check, finish, run } from "./harness.mjs";
import { axeInBoth, get, HOSTILE, put } from "./call_data.mjs";

const WORKSPACE = "console-charts-figures";
const FACTS = "console-charts-facts";
const TWICE = "console-charts-twice";
const ZONE = "America/New_York";
const DAY = 86_400;
/** Noon of 28 October 2025 in UTC; the clocks of the zone change on 2 November. */
const NOON = 1_761_652_800;
const STATUSES = ["completed", "completed", "COMPLETED", "no-answer", "busy", "failed", "ended", "on the moon"];
const PERIOD = "startedAfter=2025-10-28&startedBefore=2025-11-05";

/** Calls of eight days and of the eight days before, with costs that a binary float cannot add. */
async function fill(base) {
  for (let index = 0; index < 48; index += 1) {
    const start = NOON + (index % 8) * DAY + (index % 5) * 3_700 - (index >= 40 ? 8 * DAY : 0);
    await put(base, WORKSPACE, `call-${index}`, {
      status: STATUSES[index % STATUSES.length], startTime: start, ...(index % 3 === 0 ? {} : { endTime: start + 60 + index }),
      agentId: ["agent-a", "agent,b", "!agent*", HOSTILE][index % 4], ...(index % 6 === 0 ? {} : { callFlowId: `flow-${index % 6}` }),
      cost: { customer_charge: 0.1 }, fromPhoneNumber: `+4930${index % 7}`,
    });
  }
}

/** Opens the charts and waits until every panel has its data. */
async function open(page, base, query, workspace = WORKSPACE) {
  await page.goto("about:blank");
  await page.goto(`${base}/console#/charts?workspace=${workspace}&timezone=${ZONE}&${query}`);
  await page.waitForSelector(".charts[aria-busy=false]");
}

/** The calls that the API lists under the filter of a link to the list. */
async function listed(base, href, workspace = WORKSPACE) {
  const params = new URLSearchParams(href.split("?")[1]);
  for (const name of ["workspace", "timezone"]) params.delete(name);
  params.set("includeTotal", "true");
  params.set("limit", "100");
  const { headers, status, text } = await get(base, workspace, `?${params}`);
  assert.equal(status, 200, text);
  return { total: Number(headers.get("x-total-count")), calls: JSON.parse(text) };
}
const total = async (base, href) => (await listed(base, href)).total;

/** The first figure of each row of the tables with bars. */
const CALLS_OF_BARS = ".bars:not(.time-table) td:nth-child(2)";

/** The links of a part of the page whose text is a number of calls. */
const links = (page, selector) => page.locator(`${selector} a[href^="#/calls?"]`).evaluateAll((all) =>
  all.map((link) => ({ href: link.getAttribute("href"), count: Number(/[\d,]+(?= calls?$)|(?<=^|^before: )[\d,]+$/.exec(link.textContent.trim())?.[0].replaceAll(",", "")) })));

await run("every number leads to exactly its calls", async ({ page, server, axe }) => {
  await fill(server.demo);
  await open(page, server.demo, PERIOD);
  await page.getByText("As a table").click();
  await page.waitForSelector(".time-table");
  for (const selector of [".legend", ".time-table", CALLS_OF_BARS, ".heat", ".kpi:first-child"]) {
    const found = await links(page, selector);
    check(found.length > 0, `${selector}: no links`);
    for (const { href, count } of found) assert.equal(await total(server.demo, href), count, `${selector}: ${href}`);
  }
  const sum = async (selector) => (await links(page, selector)).reduce((all, { count }) => all + count, 0);
  assert.equal(await sum(".legend"), 40, "the outcomes add up to all calls");
  assert.equal(await sum(`.charts-pair .chart-panel:first-child ${CALLS_OF_BARS}`), 40, "the agents add up to all calls");
  await axeInBoth(page, axe);
});

await run("the list of a number counts as many", async ({ page, server }) => {
  await fill(server.demo);
  await open(page, server.demo, PERIOD);
  for (const selector of [".kpi:first-child", ".legend", CALLS_OF_BARS, `.charts-pair .chart-panel:last-child ${CALLS_OF_BARS}`]) {
    const [{ href, count }] = (await links(page, selector)).slice(-1);
    await page.goto(`${server.demo}/console${href}`);
    await page.waitForFunction((text) => document.querySelector(".calls-total")?.textContent.trim() === text, count === 1 ? "1 call" : `${count} calls`);
    await open(page, server.demo, PERIOD);
  }
});

await run("figures are exact and compared with the period before", async ({ page, server }) => {
  await fill(server.demo);
  await open(page, server.demo, PERIOD);
  const tile = (name) => page.locator(".kpi").filter({ has: page.getByText(name, { exact: true }) }).innerText();
  assert.match(await tile("Calls"), /40\s+▲ \+400% before: 8/);
  assert.match(await tile("Cost"), /4\.00\s+▲ \+400% before: 0\.80/, "forty times 0.1 is 4");
  await open(page, server.demo, `${PERIOD}&compare=0`);
  check(!(await tile("Calls")).includes("before"), "the comparison is hidden");
  // Only a list that begins in the period before has calls before it.
  await open(page, server.demo, "startedAfter=2025-10-20&startedBefore=2025-10-28");
  assert.match(await tile("Calls"), /8\s+no calls in the period before/);
});

/** Calls in several currencies, some without a cost, a length or an answer: forty in the period, and eight in the one before. */
async function fillFacts(base) {
  for (let index = 0; index < 48; index += 1) {
    const start = NOON + (index % 8) * DAY - (index >= 40 ? 8 * DAY : 0);
    const currency = [{ currency: "EUR" }, { currency: "usd" }, {}, { currency: "USD" }, { currency: "EUR" }][index % 5];
    await put(base, FACTS, `call-${index}`, {
      status: STATUSES[index % STATUSES.length], startTime: start, agentId: `agent-${index % 2}`, ...(index % 3 === 0 ? {} : { endTime: start + 60 + index }),
      ...(index % 4 === 0 ? {} : { fromPhoneNumber: `+4930${index % 7}` }), ...(index % 6 === 1 ? { answeredAt: start + 5 } : {}),
      ...(index % 7 === 0 ? {} : { cost: { ...(index % 11 === 0 ? { telephony: 1 } : { customer_charge: 0.25 }), ...currency } }),
    });
  }
}

const isAnswered = (call) => (call.answeredAt ?? -1) >= call.startTime || isCompleted(call);
const isCompleted = ({ status }) => ["completed", "ended"].includes(status.toLowerCase());
const lengthOf = (call) => (call.endTime === undefined ? null : call.endTime - call.startTime);
const clock = (seconds) => `${Math.floor(Math.round(seconds) / 60)}:${String(Math.round(seconds) % 60).padStart(2, "0")}`;
/** What a figure says about the calls that its link lists, out of all of the period. */
const FIGURES = {
  Calls: (calls) => String(calls.length),
  Answered: (calls) => (calls.every(isAnswered) ? String(calls.length) : "not answered"),
  Completed: (calls, all) => (calls.every(isCompleted) ? `${Math.round((1000 * calls.length) / all) / 10}%` : "not completed"),
  "Average length": (calls) => clock(calls.reduce((sum, call) => sum + lengthOf(call), 0) / Math.max(calls.length, 1)),
  Cost: (calls) => (calls.reduce((sum, call) => sum + call.cost.customer_charge * 100, 0) / 100).toFixed(2),
  "Distinct callers": (calls) => String(new Set(calls.map((call) => call.fromPhoneNumber)).size),
};

/** The currency of a figure, in the form of records. */
const CURRENCIES = { "€": "EUR", $: "USD", "": undefined };

/** Compares a figure with the calls that it leads to. */
async function compareFigure(base, name, { text, href }, all) {
  check(href !== null, `${name} ${text} has no link`);
  const value = text.replace(/^before: /, "");
  const { total: count, calls } = await listed(base, href, FACTS);
  assert.equal(count, calls.length, "one page has all");
  const [, sign, number] = /^([€$]?)(.*)$/.exec(value);
  assert.equal(FIGURES[name](calls, all), number, `${name} ${text}: ${href}`);
  const inCurrency = (call) => call.cost.currency?.toUpperCase() === CURRENCIES[sign];
  if (name === "Cost") check(calls.every(inCurrency), `${text}: ${href}`);
  return count;
}

await run("each figure and each one before leads to the calls that it is of", async ({ page, server, axe }) => {
  await fillFacts(server.demo);
  for (const [filter, sums] of [["", [[40, 8]]], ["&answered=true", []], ["&currency=!USD", []], ["&minCost=0.1&outcome=completed,busy", []]]) {
    await open(page, server.demo, `${PERIOD}${filter}`, FACTS);
    const tiles = await page.locator(".kpi").evaluateAll((all) => all.map((tile) => ({
      name: tile.querySelector("dt").textContent,
      figures: [...tile.querySelectorAll(".kpi-value, .kpi-before")].map((part) => ({ text: part.textContent.trim(), href: part.querySelector("a")?.getAttribute("href") ?? null })),
    })));
    const calls = tiles[0].figures.map(({ text }) => Number(text.replace("before: ", "")));
    if (sums.length > 0) assert.deepEqual([calls], sums);
    check(tiles.length >= 7, `${tiles.map(({ name }) => name)}`);
    for (const { name, figures } of tiles) {
      for (const [at, figure] of figures.entries()) await compareFigure(server.demo, name, figure, calls[at]);
    }
  }
  await open(page, server.demo, PERIOD, FACTS);
  const rows = await page.locator(".charts-pair .chart-panel:first-child tbody tr").evaluateAll((all) => all.map((row) => [...row.querySelectorAll("td:not(.bar-cell)")].map((cell) =>
    [...cell.querySelectorAll("a")].map((link) => ({ text: link.textContent.trim(), href: link.getAttribute("href") })))));
  assert.equal(rows.length, 2);
  for (const [[calls], [completed], [length], costs] of rows) {
    await compareFigure(server.demo, "Calls", calls, 0);
    await compareFigure(server.demo, "Completed", completed, Number(calls.text));
    await compareFigure(server.demo, "Average length", length, 0);
    assert.equal(costs.length, 3, "each row has the cost of each currency");
    for (const cost of costs) await compareFigure(server.demo, "Cost", cost, 0);
  }
  await axeInBoth(page, axe);
});

await run("an hour that clocks show twice is one range", async ({ page, server }) => {
  const before = 1_762_061_400; // 2 November 2025, 1:30 in New York before the change, and an hour later after it
  for (const at of [0, 3_600, 3_700]) await put(server.demo, TWICE, `call-${at}`, { startTime: before + at });
  await open(page, server.demo, "startedAfter=2025-11-01&startedBefore=2025-11-05", TWICE);
  const [{ href, count }] = await links(page, ".heat");
  assert.deepEqual([count, (await listed(server.demo, href, TWICE)).total], [3, 3]);
});

await run("answered calls, callers, and the exact sum of each currency", async ({ page, server }) => {
  const body = `{"totalCalls":3,"completedCalls":2,"failedCalls":0,"averageDuration":90.5,"totalCost":0.3,"answeredCalls":2,"callsWithDuration":3,
    "distinctCallers":1,"totalCostByCurrency":{"EUR":0.10000000000000000001,"USD":1234567890123456.75},"groups":[]}`;
  await page.route("**/metrics?*", (route) => route.fulfill({ contentType: "application/json", body }));
  await open(page, server.demo, PERIOD);
  const tiles = (await page.locator(".kpi").allInnerTexts()).map((text) => text.split(/\n+/).slice(0, 2).join(": "));
  assert.deepEqual(tiles, ["Calls: 3", "Answered: 2", "Completed: 66.7%", "Average length: 1:31", "Cost: €0.10000000000000000001", "Cost: $1,234,567,890,123,456.75", "Distinct callers: 1"]);
});

await run("days and hours are those of the zone", async ({ page, server }) => {
  await fill(server.demo);
  await open(page, server.demo, PERIOD);
  await page.getByText("As a table").click();
  await page.waitForSelector(".time-table");
  const names = await page.locator(".time-table tbody th").allInnerTexts();
  assert.deepEqual([names.length, names[0], names.at(-1)], [8, "Tue, Oct 28", "Tue, Nov 4"]);
  // Noon in UTC is 8 o'clock before the clocks change, and 7 o'clock after.
  const cell = (row, hour) => page.locator(`.heat tbody tr:nth-child(${row}) td:nth-of-type(${hour + 1})`).innerText();
  check(Number(await cell(2, 8)) > 0 && Number(await cell(1, 7)) > 0, "Tuesday 8 and Monday 7 have calls");
  await page.getByLabel("Bars").selectOption("hour");
  await page.waitForFunction(() => location.hash.includes("interval=hour"));
  await page.waitForSelector(".charts[aria-busy=false]");
  await page.getByRole("button", { name: /Show more/ }).click();
  // One of the eight days has 25 hours.
  await page.waitForFunction(() => document.querySelectorAll(".time-table tbody tr").length === 8 * 24 + 1);
});

await run("a cell of several hours leads to each of them", async ({ page, server }) => {
  await fill(server.demo);
  await open(page, server.demo, "range=all");
  const cells = page.locator(".heat button");
  const name = await cells.first().getAttribute("aria-label");
  await cells.first().click();
  await page.waitForSelector(".heat-hours li");
  const hours = await links(page, ".heat-hours");
  check(hours.length > 1, "several hours");
  assert.equal(hours.reduce((sum, { count }) => sum + count, 0), Number(/(\d+) calls?$/.exec(name)[1]));
  for (const { href, count } of hours) assert.equal(await total(server.demo, href), count, href);
  await page.getByRole("button", { name: "Close" }).click();
  await page.waitForSelector(".heat-hours", { state: "detached" });
});

await finish();
