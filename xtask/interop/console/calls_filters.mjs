// Filters: each is added from the menu, is in the URL as the API has it, comes back from the URL, and is what the server is asked.
import { check, finish, run, WORKSPACE } from "./harness.mjs";

const LIST = `#/calls?workspace=${WORKSPACE}`;
const API = /\/v2\/api\/call-history(\/search)?\?/;
const REFUSED = { allow: [/status of 40[034]/] };

const params = (page) => new URLSearchParams(new URL(page.url()).hash.split("?")[1]);
const panel = (page) => page.locator(".popover-panel");
const apply = (page) => panel(page).getByRole("button", { name: "Apply" }).click();

/** Chooses values of a set. */
const set = (mode, ...values) => async (page) => {
  await panel(page).getByLabel("Condition").selectOption(mode);
  for (const value of values.slice(0, -1)) {
    await panel(page).getByLabel("Another value").fill(value);
    await panel(page).getByRole("button", { name: "Add", exact: true }).click();
  }
  if (values.length > 0) await panel(page).getByLabel("Another value").fill(values.at(-1));
};
const between = (min, max) => async (page) => {
  await panel(page).getByLabel("At least").fill(min);
  await panel(page).getByLabel("At most").fill(max);
};
const times = (after, before, zone) => async (page) => {
  if (after !== "") await panel(page).getByLabel("From").fill(after);
  if (before !== "") await panel(page).getByLabel("Until").fill(before);
  await panel(page).getByLabel("Time zone").fill(zone);
};
const flag = (name, value) => (page) => panel(page).getByLabel(name).selectOption(value);
const text = (value) => (page) => panel(page).locator("textarea").fill(value);

const HOSTILE = "a,b\\c*d!e \"<img src=x onerror=alert(1)>'";
const ESCAPED = "a\\,b\\\\c\\*d!e \"<img src=x onerror=alert(1)>'";
/** The filter, what is done in its panel, what the URL then has, and what the server is asked where that is not the same. */
const CASES = [
  ["status", set("any", "failed", "busy"), { status: "failed,busy" }],
  ["status", set("none", "completed"), { status: "!completed" }],
  ["status", set("absent"), { status: "!*" }],
  ["outcome", set("any", "voicemail", "no-answer"), { outcome: "voicemail,no-answer" }],
  ["answered", flag("Answered", "false"), { answered: "false" }],
  ["agentId", set("any", HOSTILE), { agentId: ESCAPED }],
  ["agentId", set("none", "!x", "*"), { agentId: "!\\!x,\\*" }],
  ["callFlowId", set("present"), { callFlowId: "*" }],
  ["direction", set("any", "inbound"), { direction: "inbound" }],
  ["callType", set("any", "sip"), { callType: "sip" }],
  ["batchId", set("any", "batch-1", "batch 2"), { batchId: "batch-1,batch 2" }],
  ["phoneNumber", set("any", "+4930*", "+1 555 123"), { phoneNumber: "+4930*,+1 555 123" }],
  ["fromPhoneNumber", set("none", "anonymous"), { fromPhoneNumber: "!anonymous" }],
  ["toPhoneNumber", set("any", "*67\\*"), { toPhoneNumber: "\\*67\\*" }],
  ["callIds", text("one, two\nthree"), { callIds: "one,two,three" }],
  ["callIds", text('["a,b", "c"]'), { callIds: '["a,b","c"]' }],
  ["duration", between("10", "90.5"), { minDuration: "10", maxDuration: "90.5" }],
  ["duration", between("10", ""), { minDuration: "10" }],
  ["cost", between("", "0.25"), { maxCost: "0.25" }],
  ["currency", set("any", "CHF", "usd"), { currency: "CHF,usd" }],
  ["currency", set("absent"), { currency: "!*" }],
  ["started", times("2026-03-29T00:00", "2026-03-30T00:00", "Europe/Berlin"),
    { startedAfter: "2026-03-29T00:00", startedBefore: "2026-03-30T00:00", timezone: "Europe/Berlin" },
    { startedAfter: "2026-03-28T23:00:00Z", startedBefore: "2026-03-29T22:00:00Z", timezone: null }],
  ["updated", times("2026-01-01T12:30", "", "UTC"), { updatedAfter: "2026-01-01T12:30", timezone: "UTC" },
    { updatedAfter: "2026-01-01T12:30:00Z", timezone: null }],
  ["postAnalysis", text('{"score":{"gte":7}}'), { postAnalysis: '{"score":{"gte":7}}' }],
  ["metadata", async (page) => {
    await panel(page).getByLabel("Member").fill("order.id");
    await panel(page).getByLabel("Value").fill(HOSTILE);
  }, { "metadata.order.id": HOSTILE }],
];

for (const [index, [filter, edit, expected, asked = {}]] of CASES.entries()) {
  await run(`filter ${index + 1}: ${Object.entries(expected).map(([name, value]) => `${name}=${value}`).join("&")}`, async ({ page, open }) => {
    const requests = [];
    await page.route(API, (route) => {
      requests.push(new URL(route.request().url()).searchParams);
      return route.fulfill({ status: 200, contentType: "application/json", body: "[]" });
    });
    await open(LIST);
    await page.locator("[data-popover=filter-menu] > button").click();
    await page.locator(`[data-add=${filter}]`).click();
    await page.waitForSelector(".filters-editor");
    await edit(page);
    await apply(page);
    const [name] = Object.keys(expected);
    await page.waitForURL((url) => new URLSearchParams(url.hash.split("?")[1]).has(name));
    const matches = (found, wanted) => Object.entries(wanted).every(([key, value]) => found.get(key) === value);
    check(matches(params(page), expected), page.url());
    // The same URL in a fresh page: the chip is there, the server is asked the same, and applying it again changes nothing.
    const { hash } = new URL(page.url());
    requests.length = 0;
    await open(`?fresh${hash}`);
    const id = name.startsWith("metadata.") ? name : filter;
    const chip = page.locator(`[data-popover="filter:${id}"] > button`);
    await chip.waitFor();
    await page.waitForSelector("[data-state=no-match]");
    check(requests.length > 0 && matches(requests[0], { ...expected, ...asked }), `asked ${requests[0]}`);
    await chip.click();
    await page.waitForSelector(".filters-editor");
    await apply(page);
    await panel(page).waitFor({ state: "detached" });
    check(matches(params(page), expected), `after applying it again: ${page.url()}`);
    await page.locator(`[data-filter="${id}"] .filters-remove`).click();
    await page.waitForURL((url) => !new URLSearchParams(url.hash.split("?")[1]).has(name));
    await page.locator(".filters-chip").waitFor({ state: "detached" });
  }, REFUSED);
}

await run("presets are days of the zone, and the history goes through them", async ({ page, open }) => {
  const requests = [];
  page.on("request", (request) => {
    if (API.test(request.url())) requests.push(new URL(request.url()).searchParams);
  });
  await open(`${LIST}&timezone=Asia/Kathmandu`);
  await page.waitForSelector(".calls-table");
  for (const [label, range] of [["Today", "today"], ["Yesterday", "yesterday"], ["7 days", "7d"], ["30 days", "30d"], ["This month", "month"]]) {
    await page.locator(".filters-range").getByRole("button", { name: label, exact: true }).click();
    await page.waitForURL((url) => url.hash.includes(`range=${range}`));
    await page.locator(`.filters-range button[aria-pressed=true]`, { hasText: label }).waitFor();
    await page.waitForFunction(() => document.querySelector('[aria-busy="true"]') === null);
    const asked = requests.findLast((request) => request.has("startedAfter"));
    // Midnight in Kathmandu is a quarter past six in the evening of the day before, everywhere at UTC.
    check(/T18:15:00Z$/.test(asked.get("startedAfter")) && /T18:15:00Z$/.test(asked.get("startedBefore")), `${range}: ${asked}`);
  }
  await page.goBack();
  await page.locator(".filters-range button[aria-pressed=true]", { hasText: "30 days" }).waitFor();
}, REFUSED);

await run("facets count what the list has, and toggle", async ({ page, open }) => {
  await open(LIST);
  const failed = page.locator(".facet-value", { hasText: "failed" }).last();
  await failed.waitFor();
  const count = await failed.locator(".facet-count").innerText();
  await failed.click();
  await page.waitForURL(/[?&](status|outcome)=failed/);
  await page.locator(".calls-total", { hasText: `${count} call` }).waitFor();
  await page.locator(".facet-value[aria-pressed=true]", { hasText: "failed" }).first().waitFor();
  check(await page.locator(".facet", { has: page.locator("[aria-pressed=true]") }).locator(".facet-value").count() > 1, "other values are gone");
  await page.locator(".facet-value[aria-pressed=true]", { hasText: "failed" }).first().click();
  await page.waitForURL((url) => !/status=|outcome=/.test(url.hash));
}, REFUSED);

await run("a search shows its evidence, by relevance or time", async ({ page, open, axe }) => {
  const asked = [];
  await page.route(/\/v2\/api\/call-history\/search\?/, (route) => {
    asked.push(new URL(route.request().url()).searchParams);
    const evidence = [
      { member: "/transcript/3/content", turn: 3, role: "user", time: 12.5, snippet: "😀 the refund <b>now</b>", matches: [[6, 12], [40, 50], [-1, 2]] },
      { member: "/metadata/order~1id", snippet: "refund", matches: [[0, 6]] },
    ];
    return route.fulfill({ contentType: "application/json", body: JSON.stringify({ hits: [{ call: { _id: "hit", status: "completed" }, evidence }] }) });
  });
  await open(LIST);
  await page.waitForSelector(".calls-table");
  await page.locator("#calls-search").fill("refund");
  await page.waitForURL(/[?&]q=refund/);
  await page.waitForSelector(".calls-evidence mark");
  check((await page.locator(".calls-evidence mark").allInnerTexts()).join() === "refund,refund", "other texts are marked");
  check((await page.locator(".calls-evidence").innerText()).includes("Metadata · order/id"), "the member is not named");
  check((await page.locator(".calls-evidence a").first().getAttribute("href")).includes("at=12.5"), "the link has no time");
  await axe();
  check(await page.locator(".calls-evidence b").count() === 0, "a text became an element");
  await page.getByLabel("Order of the matches").selectOption("time");
  await page.waitForURL(/order=time/);
  await page.waitForFunction(() => document.querySelector('[aria-busy="true"]') === null);
  check(asked[0].get("q") === "refund" && asked[0].get("sort") === "relevance" && !asked[0].has("search"), `asked ${asked[0]}`);
  check(asked.at(-1).get("sort") === "-startTime", `asked ${asked.at(-1)}`);
  await page.locator("#calls-search").fill("");
  await page.waitForURL((url) => !url.hash.includes("q="));
}, REFUSED);

await run("a server without the search has the list instead", async ({ page, open }) => {
  await page.route(/\/v2\/api\/call-history\/search\?/, (route) => route.fulfill({
    status: 404, contentType: "application/problem+json", body: JSON.stringify({ status: 404, code: "route_not_found", detail: "no such route" }),
  }));
  await open(`${LIST}&q=refund`);
  await page.waitForSelector(".calls-row");
}, REFUSED);

await run("damaged and unknown parameters are ignored", async ({ page, open }) => {
  await open(`${LIST}&limit=7&sort=nonsense&density=17&pageNumber=-3&order=x&unknown=1&metadata.=x&follow=yes&range=1000000d`);
  await page.waitForSelector(".calls-row");
  await page.waitForSelector(".calls-table[aria-busy=false]");
  check(await page.locator(".calls-row").count() === 50, "the limit of the URL was used");
}, REFUSED);

await run("outcomes have German names: in the facet, in the chip, and in the editor", async ({ page, open }) => {
  await open(`${LIST}&outcome=no-answer`);
  const names = { facet: '.facet-value[aria-pressed="true"] .facet-label', chip: "[data-filter=outcome] .filters-summary" };
  for (const selector of Object.values(names)) await page.locator(selector, { hasText: "Nicht angenommen" }).first().waitFor();
  await page.locator("[data-filter=outcome] .filters-edit").click();
  await panel(page).getByText("Anrufbeantworter").waitFor();
  await panel(page).getByLabel("Abgebrochen").check();
  await panel(page).getByRole("button", { name: "Anwenden" }).click();
  await page.waitForURL(/outcome=no-answer%2Ccanceled/);
}, { ...REFUSED, locale: "de-DE" });

await run("on a phone, the chosen preset is in view", async ({ page, open }) => {
  const isInView = () => page.waitForFunction(() => {
    const chosen = document.querySelector('.filters-range [aria-pressed="true"]');
    const [bar, button] = [chosen?.parentElement.getBoundingClientRect(), chosen?.getBoundingClientRect()];
    return bar !== undefined && button.left >= bar.left - 1 && button.right <= bar.right + 1;
  });
  await open(`${LIST}&range=month`);
  await isInView();
  await open(`${LIST}`);
  await isInView();
  check(await page.evaluate(() => {
    const bar = document.querySelector(".filters-range");
    return bar.scrollWidth > bar.clientWidth;
  }), "all presets fit, so nothing was tested");
}, { ...REFUSED, viewport: { width: 360, height: 780 } });

await finish();
