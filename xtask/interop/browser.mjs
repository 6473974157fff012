// Uses the service from web pages in a browser. The arguments are the service, a key, the browser, and the ports of two origins, of
// which the service allows the first one.
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const [base, key, executablePath, ...ports] = process.argv.slice(2);
const calls = `${base}/v2/api/call-history`;
const caller = { "x-workspace-id": "browser", "x-api-key": key };
const servers = ports.map((port) =>
  createServer((_, response) => response.setHeader("content-type", "text/html").end("<!doctype html>")).listen(Number(port), "127.0.0.1"),
);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });

function expect(truth, what) {
  if (!truth) throw new Error(what);
}

/** Runs in the page: writes, lists page by page, follows the changes, and reads errors. */
async function use({ calls, caller }) {
  const json = { ...caller, "content-type": "application/json" };
  const put = (id, more) => {
    const body = JSON.stringify({ summary: `${id} `.repeat(1000), startTime: 1680000000 });
    return fetch(`${calls}/${id}`, { method: "PUT", headers: { ...json, ...more }, body });
  };
  const seen = { written: [], listed: [], followed: [] };
  const created = await put("one", { "if-none-match": "*", "x-request-id": "page-1" });
  seen.written.push([created.status, created.headers.get("x-request-id"), Boolean(created.headers.get("etag"))]);
  const replaced = await put("one", { "if-match": created.headers.get("etag"), prefer: "handling=strict" });
  seen.written.push([replaced.status, replaced.headers.get("preference-applied")]);
  await put("two");

  for (let url = new URL(`${calls}?limit=1&includeTotal=true`); url; ) {
    const response = await fetch(url, { headers: caller });
    for (const call of await response.json()) seen.listed.push([call._id, response.headers.get("x-total-count")]);
    const next = /<([^>]*)>; rel="next"/.exec(response.headers.get("link") ?? "");
    url = next && new URL(next[1], url);
  }

  const stop = new AbortController();
  const stream = await fetch(`${calls}/changes`, { headers: { ...caller, accept: "text/event-stream" }, signal: stop.signal });
  const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const follow = async (id) => {
    while (!text.includes(`"_id":"${id}"`)) text += (await reader.read()).value;
    seen.followed.push(id);
  };
  await follow("two");
  await fetch(`${calls}/three`, { method: "PATCH", headers: json, body: "{}" });
  await put("three");
  await follow("three");
  stop.abort();

  const deleted = await fetch(`${calls}/three`, { method: "DELETE", headers: caller });
  const wrong = await fetch(calls, { headers: { ...caller, "x-api-key": "wrong" } });
  const absent = await fetch(`${calls}/three`, { headers: caller });
  seen.errors = [deleted.status, wrong.status, (await wrong.json()).code, absent.status, (await absent.json()).code];
  return JSON.stringify(seen);
}

/** Runs in the page: the errors of a read and of a write. */
async function attack({ calls, caller }) {
  const json = { ...caller, "content-type": "application/json" };
  const requests = [
    fetch(`${calls}/one`, { headers: caller }),
    fetch(`${calls}/four`, { method: "PUT", headers: json, body: "{}" }),
    fetch(calls, { method: "POST", headers: { "content-type": "text/plain" }, body: "{}" }),
    fetch(`${calls}/changes`, { headers: { ...caller, accept: "text/event-stream" } }),
  ];
  return (await Promise.allSettled(requests)).map(({ reason, value }) => reason?.name ?? value.status).join();
}

try {
  const page = await browser.newPage();
  await page.goto(`http://localhost:${ports[0]}/`);
  const seen = await page.evaluate(use, { calls, caller });
  const expected = {
    written: [[201, "page-1", true], [200, "handling=strict"]],
    listed: [["two", "2"], ["one", "2"]],
    followed: ["two", "three"],
    errors: [204, 401, "key_invalid", 404, "call_not_found"],
  };
  expect(seen === JSON.stringify(expected), `the allowed origin saw ${seen}`);
  for (const address of [`http://localhost:${ports[1]}/`, "data:text/html,null"]) {
    await page.goto(address);
    const errors = await page.evaluate(attack, { calls, caller });
    expect(errors === "TypeError,TypeError,TypeError,TypeError", `${address} got ${errors}`);
  }
  const list = await (await fetch(`${calls}?fields=_id`, { headers: caller })).json();
  expect(list.map((call) => call._id).join() === "two,one", `a foreign origin wrote: ${JSON.stringify(list)}`);
  console.log(`browser ${browser.version()}: the allowed origin listed, followed and wrote; others did not`);
} finally {
  await browser.close();
  for (const server of servers) server.close();
}
