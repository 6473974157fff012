// Commands and code that the pages offer: they run as they are, with a key, and behind a proxy that adds a prefix.
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { check, finish, run, server } from "./harness.mjs";

const WORKSPACE = `snippets-${process.pid}`;
const PREFIX = "/voice";
const ID = "it's$(x)`y`";
const RECORD = { _id: ID, status: "completed", startTime: 1_790_000_000 };

/** A proxy that serves a server below the prefix. */
async function proxied(base) {
  const { hostname, port } = new URL(base);
  const proxy = http.createServer((request, response) => {
    if (!request.url.startsWith(`${PREFIX}/`)) return response.writeHead(404).end();
    const { method, headers } = request;
    const path = request.url.slice(PREFIX.length);
    const inner = http.request({ hostname, port, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    inner.on("error", () => response.destroy());
    return request.pipe(inner);
  });
  await new Promise((resolve) => { proxy.listen(0, "127.0.0.1", resolve); });
  return { base: `http://127.0.0.1:${proxy.address().port}${PREFIX}`, close: () => proxy.close() };
}

/** Runs a command in a shell as a person would; returns what it prints. */
async function shell(command, folder) {
  const env = { ...process.env, CALLHISTORY_API_KEY: server.keys.all };
  return (await promisify(execFile)("sh", ["-c", command], { cwd: folder, env, timeout: 120_000 })).stdout;
}

await run("each command runs as it is shown, also behind a proxy", async ({ page }) => {
  const proxy = await proxied(server.keyed);
  const folder = await mkdtemp(join(tmpdir(), "callhistory-snippets-"));
  await writeFile(join(folder, "calls.ndjson"), `${JSON.stringify(RECORD)}\n`);
  const code = async (label) => {
    const texts = await page.locator(`pre[aria-label=${label}]`).allTextContents();
    check(texts.length === 1 && !texts[0].includes(server.keys.all), texts.join());
    return texts[0];
  };
  const isClient = (text) => check(text.includes(`Client::builder("${proxy.base}")`), text);
  try {
    await page.goto(`${proxy.base}/console#/calls?workspace=${WORKSPACE}`);
    await page.locator(".sign-in input[name=key]").fill(server.keys.all);
    await page.locator(".sign-in button[type=submit]").click();
    await page.waitForSelector("[data-state=empty]");
    check(JSON.parse(await shell(await code("curl"), folder)).status === "completed", "no call was written");

    await page.getByRole("link", { name: "Operate" }).click();
    const batch = await page.locator(".operate-code", { hasText: "/batch" }).textContent();
    const written = JSON.parse(await shell(batch, folder));
    check(written.created === 1, JSON.stringify(written));

    await page.getByRole("link", { name: "Calls", exact: true }).click();
    await page.waitForSelector(".calls-row");
    await page.getByRole("button", { name: "Export" }).click();
    await page.locator(".calls-code summary").first().click();
    check(JSON.parse(await shell(await code("curl"), folder)).length === 2, "the list is another one");
    isClient(await code("Rust"));
    await page.keyboard.press("Escape");

    await page.evaluate((id) => { location.hash = `#/calls/${encodeURIComponent(id)}`; }, ID);
    await page.waitForSelector(".call h1");
    check(JSON.parse(await shell(await code("curl"), folder))._id === ID, "the call is another one");
    isClient(await code("Rust"));
  } finally {
    proxy.close();
    await rm(folder, { recursive: true });
  }
}, { allow: [/status of 40[0134]/] });

await finish();
