// Hostile content in every member of a record, in IDs, facets, evidence, filters and errors: it is text, and nothing else.
import { check, finish, run, WORKSPACE } from "./harness.mjs";

const RUN = "globalThis.wasRun=1";
const BODIES = [
  `<script>${RUN}</script>`, `<img src=x onerror="${RUN}">`, `<svg onload="${RUN}">`, `<svg><script>${RUN}</script></svg>`, `<iframe srcdoc="<script>parent.wasRun=1</script>">`,
  `<a href="javascript:${RUN}">x</a>`, `javascript:${RUN}//`, `data:text/html,<script>${RUN}</script>`, `<math><mtext></form><form><mglyph><style></math><img src onerror=${RUN}>`,
  `<body onload=${RUN}>`, `<input autofocus onfocus=${RUN}>`, `<details open ontoggle=${RUN}>`, `<video><source onerror=${RUN}></video>`, `<style>@import "x"</style>`, `<link rel=stylesheet href=//x>`,
  `<object data="javascript:${RUN}">`, `<base href="//x/">`, `<meta http-equiv=refresh content="0;url=javascript:${RUN}">`, `<template shadowrootmode=open><script>${RUN}</script></template>`,
  `<noscript><p title="</noscript><img src=x onerror=${RUN}>">`, `{{constructor.constructor('${RUN}')()}}`, "${" + RUN + "}", `<%=${RUN}%>`, `<!--><img src=x onerror=${RUN}>-->`, `<![CDATA[<img src=x onerror=${RUN}>]]>`,
];
const WRAPS = [
  (text) => text, (text) => `"'>${text}`, (text) => `</textarea></title></style></script>${text}`, (text) => `\`\${${text}}`, (text) => `" autofocus onfocus=${RUN} x="${text}`,
  (text) => `' onmouseover=${RUN} ${text}`, (text) => `-->${text}<!--`, (text) => `]]>${text}`, (text) => `\u202e${text}\u0000`, (text) => `?lit$123$${text}<?lit$123$>`,
  (text) => `<!--lit-part-->${text}`, (text) => text.toUpperCase(), (text) => text.replace(/</g, "<\u0000"), (text) => text.replace(/ /g, "/"), (text) => text.replace(/</g, "\ufe64"),
  (text) => `${"x".repeat(280)}${text}`, (text) => `\n\r\t${text}`, (text) => `&lt;${text}&#x3c;img src=x onerror=${RUN}&gt;`, (text) => `__proto__${text}`, (text) => `{count}{name}$&$1${text}`,
];
const STRINGS = WRAPS.flatMap((wrap) => BODIES.map(wrap));
const PAGE = 100;
const COLUMNS = "started,status,direction,agent,callFlow,from,to,duration,cost,summary,callType,batchId,callId,id,agentId,callFlowId,roomName,answered,ended,created,updated,metadata.x";

/** A record with the text in every member. */
const record = (text) => ({
  _id: text, workspaceId: text, agentId: text, callFlowId: text, roomName: text, direction: text, fromPhoneNumber: text, toPhoneNumber: text, status: text, startTime: text,
  endTime: text, answeredAt: text, duration: text, cost: { customer_charge: text, currency: text }, metadata: { x: text, [text]: text }, summary: text,
  createdAt: text, updatedAt: text, callId: text, batchId: text, callType: text, agent: text, callFlowName: text,
});

/** Answers every request of the list, the search and the metrics with these texts. */
async function answer(page, texts) {
  await page.route(/\/v2\/api\/call-history/, (route) => {
    const url = new URL(route.request().url());
    const body = url.pathname.endsWith("/metrics")
      ? { totalCalls: texts.length, groups: texts.slice(0, 20).map((text) => ({ group: { [url.searchParams.get("groupBy")]: text }, totalCalls: 1 })) }
      : url.pathname.endsWith("/search")
        ? { hits: texts.map((text) => ({ call: record(text), evidence: [{ member: `/${text}`, role: text, turn: 0, time: 1, snippet: text, matches: [[0, text.length], [1, 3]] }, { member: text, snippet: text, matches: [[1, 4]] }] })) }
        : texts.map(record);
    return route.fulfill({ contentType: "application/json", body: JSON.stringify(body) });
  });
}

/** Throws if a text became something else. */
async function inspect(page) {
  const found = await page.evaluate(() => ({
    elements: [...document.querySelectorAll("#app :is(script, img, iframe, style, link, object, base, meta, math, video, body, template, noscript, main form form)")].map((one) => one.outerHTML.slice(0, 200)),
    handlers: [...document.querySelectorAll("#app *")].filter((one) => one.getAttributeNames().some((name) => /^on/i.test(name))).map((one) => one.outerHTML.slice(0, 200)),
    links: [...document.querySelectorAll("#app a")].map((one) => one.getAttribute("href")).filter((href) => !href.startsWith("#/")),
    wasRun: globalThis.wasRun !== undefined,
  }));
  check(!found.wasRun && found.elements.length === 0 && found.handlers.length === 0, JSON.stringify(found));
  check(found.links.every((href) => /^#(main|\/)/.test(href)), found.links.join());
}

check(STRINGS.length === 500, `${STRINGS.length} texts`);
for (let from = 0; from < STRINGS.length; from += PAGE) {
  const texts = STRINGS.slice(from, from + PAGE);
  await run(`hostile texts ${from + 1} to ${from + PAGE}`, async ({ page, open }) => {
    await answer(page, texts);
    page.on("dialog", (dialog) => { throw new Error(dialog.message()); });
    const query = (more) => `#/calls?${new URLSearchParams({ workspace: WORKSPACE, columns: COLUMNS, limit: "100", ...more })}`;
    await open(query({}));
    await page.locator(".calls-row").nth(texts.length - 1).waitFor();
    await page.locator(".facet-value").first().waitFor();
    await inspect(page);
    const shown = await page.locator(".calls-row .calls-col-summary").first().textContent();
    check(shown.trim().startsWith(texts[0].replaceAll("\u0000", "").trim().slice(0, 40)) || texts[0].includes("\u0000"), `${texts[0]} is shown as ${shown}`);
    // In chips, panels and the search, and as evidence.
    for (const text of texts.filter((_, index) => index % 9 === 0)) {
      await open(query({ q: text, status: text, agentId: `!${text}`, startedAfter: text, minDuration: text, callIds: text, postAnalysis: text, [`metadata.${text}`]: text, sort: text, range: text, columns: `${text},status`, cursor: text }));
      await page.locator(".filters-chip").nth(4).waitFor();
      await page.locator(".calls-evidence").first().waitFor();
      await inspect(page);
    }
  }, { allow: [/status of 404/] });
}

await run("a row of a hostile ID leads to its call", async ({ page, open }) => {
  const id = `"'><img src=x onerror=${RUN}>/../?x#y%41 \\`;
  await answer(page, [id]);
  await open(`#/calls?workspace=${WORKSPACE}`);
  await page.locator(".calls-link").first().click();
  await page.waitForURL((url) => url.hash.startsWith("#/calls/"));
  check(decodeURIComponent(new URL(page.url()).hash.slice("#/calls/".length).split("?")[0]) === id, page.url());
  await inspect(page).catch((error) => check(!/wasRun":true/.test(error.message), error.message));
}, { allow: [/status of 40[034]/, /exception/] });

await run("a hostile error is text", async ({ page, open }) => {
  const text = STRINGS[1];
  await page.route(/\/v2\/api\/call-history/, (route) => route.fulfill({
    status: 400, contentType: "application/problem+json",
    body: JSON.stringify({ status: 400, code: text, detail: text, requestId: text, errors: [{ parameter: "status", code: text, detail: text }, { parameter: text, detail: text }] }),
  }));
  await open(`#/calls?workspace=${WORKSPACE}&status=x`);
  await page.locator("[data-filter=status] .filters-error").waitFor();
  await inspect(page);
}, { allow: [/status of 40[04]/] });

await finish();
