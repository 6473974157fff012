// The list of calls: pages, order, columns, the keyboard, and every state that is not a list.
import { check, finish, run, VARIANTS, variantName, WORKSPACE } from "./harness.mjs";

const LIST = `#/calls?workspace=${WORKSPACE}`;
const API = "**/v2/api/call-history?*";
/** What a server without facets or without search says is logged by browsers. */
const REFUSED = { allow: [/status of 40[034]/] };

const rows = (page) => page.locator(".calls-row");
const firstLink = (page) => page.locator(".calls-link").first().getAttribute("href");
/** The list shows what was asked for last. */
const settled = async (page) => {
  await page.waitForSelector('.calls-table[aria-busy="false"]');
};
const json = (route, body, headers = {}, status = 200) =>
  route.fulfill({ status, contentType: "application/json", headers, body: JSON.stringify(body) });
const problem = (route, status, body) =>
  route.fulfill({ status, contentType: "application/problem+json", body: JSON.stringify({ status, ...body }) });

for (const variant of VARIANTS) {
  await run(`the list, ${variantName(variant)}`, async ({ page, open, axe }) => {
    await open(`${LIST}&status=completed&range=30d&metadata.campaign=spring`);
    await settled(page);
    await axe();
    await rows(page).nth(1).hover();
    await axe();
    await page.locator("[data-popover=filter-menu] > button").click();
    await page.waitForSelector(".filters-menu");
    await axe();
    await page.keyboard.press("Escape");
    for (const filter of ["filter:status", "filter:started", "view"]) {
      await page.locator(`[data-popover="${filter}"] > button`).click();
      await page.waitForSelector(".popover-panel");
      await axe();
      await page.keyboard.press("Escape");
      await page.waitForSelector(".popover-panel", { state: "detached" });
    }
    const overflows = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    check(!overflows, "the page scrolls sideways");
  }, { ...variant, ...REFUSED });
}

await run("the narrowest screen does not scroll sideways", async ({ page, open }) => {
  await open(`${LIST}&status=completed,failed,busy,no-answer&range=30d&search=x&postAnalysis=${encodeURIComponent('{"score":{"gte":1}}')}`);
  await settled(page);
  check(await page.evaluate(() => document.documentElement.scrollWidth <= 320), "the page scrolls sideways");
}, { viewport: { width: 320, height: 640 }, ...REFUSED });

await run("pages go forward and back, by keys, buttons and the history", async ({ page, open }) => {
  await open(`${LIST}&limit=25`);
  await settled(page);
  const links = [await firstLink(page)];
  const arrive = async (number) => {
    await page.locator(".calls-pager", { hasText: number === 1 ? "Page 1" : `Page ${number}` }).waitFor();
    await settled(page);
    return (await firstLink(page)).split("?")[0];
  };
  links[0] = links[0].split("?")[0];
  await page.keyboard.press("]");
  links.push(await arrive(2));
  await page.getByRole("button", { name: "Next" }).click();
  links.push(await arrive(3));
  check(new Set(links).size === 3, `pages begin alike: ${links}`);
  await page.keyboard.press("[");
  check(await arrive(2) === links[1], "the page before is another one");
  await page.goBack();
  check(await arrive(3) === links[2], "the history leads elsewhere");
  await page.reload();
  check(await arrive(3) === links[2], "a reload leads elsewhere");
  await page.keyboard.press("[");
  check(await arrive(2) === links[1], "the cursors are forgotten by a reload");
  await page.keyboard.press("[");
  check(await arrive(1) === links[0] && !page.url().includes("cursor="), page.url());
}, REFUSED);

await run("a shared page leads to the first one, and a damaged cursor says so", async ({ page, open }) => {
  await open(`${LIST}&limit=25`);
  await settled(page);
  await page.keyboard.press("]");
  await page.waitForURL(/pageNumber=2/);
  const hash = new URL(page.url()).hash;
  await page.evaluate(() => sessionStorage.clear());
  await open(`?shared${hash.replace("pageNumber=2", "pageNumber=7")}`);
  await settled(page);
  await page.getByRole("button", { name: "First page" }).click();
  await page.locator(".calls-pager", { hasText: "Page 1" }).waitFor();
  await open(`?damaged${LIST}&cursor=nonsense&pageNumber=2`);
  await page.waitForSelector("[data-state=cursor]");
  await page.getByRole("button", { name: "First page" }).click();
  await settled(page);
}, REFUSED);

await run("headers sort, and say so", async ({ page, open }) => {
  await open(LIST);
  await settled(page);
  const header = page.locator("th", { hasText: "Length" });
  const sorts = [];
  for (const expected of ["descending", "ascending", "none"]) {
    await header.getByRole("button").click();
    await page.locator(`th[aria-sort=${expected}]`, { hasText: "Length" }).waitFor();
    sorts.push(new URLSearchParams(page.url().split("?").at(-1)).get("sort"));
  }
  check(sorts.join() === "-duration,duration,", sorts.join());
  check(await page.locator("th[aria-sort=descending]", { hasText: "Started" }).count() === 1, "the usual order is not marked");
}, REFUSED);

await run("beside the counts, a usual window has room for the usual columns", async ({ page, open }) => {
  await open(LIST);
  await settled(page);
  await page.waitForSelector(".facet");
  const [inner, outer] = await page.locator(".calls-scroll").evaluate((element) => [element.scrollWidth, element.clientWidth]);
  check(inner <= outer, `${inner} of ${outer} pixels`);
  await page.locator("thead th", { hasText: "Summary" }).waitFor();
}, REFUSED);

await run("columns and density are kept, shared, and damaged ones ignored", async ({ page, open }) => {
  await open(LIST);
  await settled(page);
  await page.locator("[data-popover=view] > button").click();
  await page.locator(".calls-columns").getByLabel("Cost", { exact: true }).uncheck();
  await page.locator(".calls-columns").getByLabel("Room", { exact: true }).check();
  await page.getByPlaceholder("Member of metadata").fill("campaign");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Compact" }).click();
  await page.keyboard.press("Escape");
  const headers = async () => (await page.locator("thead th").allInnerTexts()).map((text) => text.replace(/[^\w]/g, "")).join();
  await page.locator("thead th", { hasText: "campaign" }).waitFor();
  const chosen = await headers();
  check(chosen.includes("Room") && !chosen.includes("Cost"), chosen);
  check(await page.locator(".calls-compact").count() === 1, "the density is not used");
  await open(`?again${LIST}`);
  await page.locator("thead th", { hasText: "campaign" }).waitFor();
  check(await headers() === chosen, "the columns are not kept");
  await open(`?shared${LIST}&columns=status,none,<x>,started`);
  await page.locator("tbody th").first().waitFor();
  check(await headers() === ",Status,Started", await headers());
  await page.evaluate(() => {
    localStorage.setItem("callhistory.columns", "{\"<x>");
    localStorage.setItem("callhistory.density", "17");
  });
  await open(`?damaged${LIST}`);
  await page.locator("thead th", { hasText: "Cost" }).waitFor();
}, REFUSED);

await run("the list is used by keys alone", async ({ page, open, axe }) => {
  await open(LIST);
  await settled(page);
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("x");
  await page.keyboard.press("j");
  await page.keyboard.press("k");
  await page.locator(".calls-selection", { hasText: "1 call selected" }).waitFor();
  await axe();
  const href = await page.evaluate(() => document.activeElement.getAttribute("href"));
  check(href === await page.locator(".calls-link").nth(1).getAttribute("href"), "the focus is at another row");
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => url.hash.startsWith("#/calls/"));
  check(page.url().endsWith(href), page.url());
  await page.goBack();
  await settled(page);
  await page.keyboard.press("f");
  await page.waitForFunction(() => document.activeElement.dataset.add === "started");
  await page.keyboard.press("ArrowDown");
  await page.waitForFunction(() => document.activeElement.dataset.add === "status");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement.name === "mode");
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => document.activeElement.matches('[data-popover=filter-menu] > button[aria-expanded="false"]'));
  await page.keyboard.press("/");
  await page.waitForFunction(() => document.activeElement.id === "calls-search");
  await page.keyboard.type("refund");
  await page.keyboard.press("Enter");
  await page.waitForURL(/[?&]q=refund/);
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => document.activeElement.id !== "calls-search");
  check(await page.locator("#calls-search").inputValue() === "refund", "Escape has cleared the search");
}, REFUSED);

await run("rows are selected one by one, in ranges, and all of a page", async ({ page, open }) => {
  await open(`${LIST}&limit=25`);
  await settled(page);
  const boxes = page.locator(".calls-row input");
  await boxes.nth(2).click();
  await boxes.nth(6).click({ modifiers: ["Shift"] });
  await page.locator(".calls-selection", { hasText: "5 calls selected" }).waitFor();
  await page.keyboard.press("]");
  await page.locator(".calls-pager", { hasText: "Page 2" }).waitFor();
  await settled(page);
  await page.getByLabel("Select all calls of this page").check();
  await page.locator(".calls-selection", { hasText: "30 calls selected" }).waitFor();
  await page.keyboard.press("Escape");
  await page.waitForSelector(".calls-selection", { state: "detached" });
}, REFUSED);

await run("a row opens its call, and going back finds the same place", async ({ page, open }) => {
  await open(`${LIST}&status=completed`);
  await settled(page);
  await rows(page).nth(40).scrollIntoViewIfNeeded();
  await rows(page).nth(40).locator("td").nth(3).hover();
  const top = await page.locator(".calls-scroll").evaluate((element) => element.scrollTop);
  check(top > 100, "the list does not scroll");
  await rows(page).nth(40).locator("td").nth(3).click();
  await page.waitForURL((url) => url.hash.startsWith("#/calls/") && url.hash.includes("status=completed"));
  await page.goBack();
  await settled(page);
  await page.waitForFunction((before) => Math.abs(document.querySelector(".calls-scroll").scrollTop - before) < 3, top);
}, REFUSED);

await run("a late answer is discarded", async ({ page, open }) => {
  const held = [];
  const page_ = (id) => [{ _id: id, status: id }];
  await page.route(API, (route) => {
    const status = new URL(route.request().url()).searchParams.get("status");
    if (status === "slow") held.push(route);
    else void json(route, page_(status ?? "none"));
  });
  await open(`${LIST}&status=slow`);
  await page.waitForSelector(".filters-chip");
  await page.waitForSelector(".calls-skeleton");
  await page.evaluate(() => { location.hash = location.hash.replace("slow", "quick"); });
  await page.locator(".calls-row", { hasText: "quick" }).waitFor();
  for (const route of held) await json(route, page_("slow")).catch(() => {});
  await page.evaluate(() => { location.hash = location.hash.replace("quick", "third"); });
  await page.locator(".calls-row", { hasText: "third" }).waitFor();
  check(await page.locator(".calls-row", { hasText: "slow" }).count() === 0, "the late answer is shown");
}, REFUSED);

await run("an empty workspace has a command and an import", async ({ page, open, axe }) => {
  await open("#/calls?workspace=nothing-here");
  const state = page.locator("[data-state=empty]");
  await state.waitFor();
  check((await state.locator("pre").innerText()).includes("x-workspace-id: nothing-here"), "the command is for another workspace");
  await axe();
  await state.getByRole("link", { name: "Import calls" }).click();
  await page.waitForURL(/#\/operate\?workspace=nothing-here/);
}, REFUSED);

await run("no match names the filters that can go, and how many calls each hides", async ({ page, open, axe }) => {
  await open(`${LIST}&status=no-such-status&direction=inbound`);
  const state = page.locator("[data-state=no-match]");
  await state.getByRole("button", { name: /Remove Status: no-such-status.*[1-9][\d,]* calls/s }).waitFor();
  await axe();
  await state.getByRole("button", { name: /Remove Status/ }).click();
  await settled(page);
  check(page.url().includes("direction=inbound") && !page.url().includes("status="), page.url());
}, REFUSED);

await run("what the server refuses is shown at its filter", async ({ page, open, axe }) => {
  await open(`${LIST}&minDuration=abc&status=completed`);
  await page.locator("[data-filter=duration] .filters-error", { hasText: "abc" }).waitFor();
  await page.waitForSelector(".state-error");
  await axe();
  check(await page.locator("[data-filter=status] .filters-error").count() === 0, "another filter has the error");
  await page.locator("[data-filter=duration] .filters-remove").click();
  await settled(page);
}, REFUSED);

await run("a server that fails can be asked again", async ({ page, open, axe }) => {
  let fails = "error";
  await page.route(API, (route) => {
    if (fails === "error") return problem(route, 503, { code: "unavailable", detail: "the database is away" });
    return fails === "network" ? route.abort() : route.fallback();
  });
  await open(LIST);
  await page.locator(".state-error", { hasText: "the database is away" }).waitFor();
  await axe();
  fails = "network";
  await page.getByRole("button", { name: "Try again" }).click();
  await page.locator(".state-error", { hasText: "cannot be reached" }).waitFor();
  fails = "";
  await page.getByRole("button", { name: "Try again" }).click();
  await settled(page);
}, { allow: [/status of (40[034]|503)/, /ERR_FAILED/] });

await run("a key that may not read says which scope it lacks", async ({ page, open, axe }) => {
  await page.route("**/v2/api/call-history**", (route) =>
    problem(route, 403, { code: "insufficient_scope", detail: "the key lacks the scope calls:read" }));
  await open(LIST);
  await page.locator(".state-error", { hasText: "calls:read" }).waitFor();
  await page.getByRole("link", { name: "Use another key" }).waitFor();
  await axe();
}, { allow: [/status of 40[34]/] });

await run("the list is printed without its controls", async ({ page, open }) => {
  await open(LIST);
  await settled(page);
  await page.emulateMedia({ media: "print" });
  check(!await page.locator(".calls-pager").isVisible() && !await page.locator("#calls-search").isVisible(), "controls are printed");
  check(await rows(page).last().isVisible(), "rows are missing");
}, REFUSED);

await finish();
