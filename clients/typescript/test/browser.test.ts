// The client in a page of another origin than the server, if there is a Chromium.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { RealServer } from "./servers.js";

const names = ["chromium", "google-chrome", "chromium-browser"];
const browser = names.find((name) => spawnSync(name, ["--version"]).status === 0);

/** What the page does; its text is part of the page. */
const PROGRAM = `
import { Client } from "/index.js";

const client = new Client(BASE, { workspace: "browser" });
const found = {};
const { version } = await client.replaceCall("a", { status: "completed" }, { handling: "strict" });
found.unchanged = (await client.getCallIfChanged("a", version)) === undefined;
await client.createCall({ status: "busy" });
await client.importCalls(Array.from({ length: 8 }, (_, at) => ({ _id: "i" + at })));
found.listed = 0;
for await (const call of client.streamCalls({ limit: 3 })) found.listed += 1;
found.exported = 0;
for await (const call of client.exportCalls()) found.exported += 1;
found.lines = (await new Response(await client.exportFile("csv")).text()).trim().split("\\r\\n").length;
const error = await client.updateCall("a", {}, { ifMatch: '"1-x"' }).catch((error) => error);
found.error = [error.code, error.isPreconditionFailed, error.requestId.length];
const stop = new AbortController();
found.changes = 0;
for await (const page of client.followChanges({ signal: stop.signal })) {
  found.changes += page.changes.length;
  if (found.changes >= 10) stop.abort();
}
`;

test("the client works in a browser", { skip: browser === undefined && "install chromium" }, async () => {
  let done: (text: string) => void = () => undefined;
  const result = new Promise<string>((resolve) => (done = resolve));
  let base = "";
  const pages = createServer((request, response) => {
    if (request.url === "/") {
      const report = `const report = (text) => fetch("/done", { method: "POST", body: text });`;
      const failed = `addEventListener("unhandledrejection", ({ reason }) => report(String(reason?.stack ?? reason)));`;
      const program = `${PROGRAM.replace("BASE", JSON.stringify(base))}\nreport(JSON.stringify(found));`;
      const page = `<script>${report} ${failed}</script><script type="module">${program}</script>`;
      response.writeHead(200, { "content-type": "text/html" }).end(page);
    } else if (request.url === "/done") {
      let text = "";
      request.on("data", (part: Buffer) => (text += part.toString()));
      request.on("end", () => done(text));
      response.end();
    } else if (/^\/\w+\.js$/.test(request.url ?? "")) {
      response.writeHead(200, { "content-type": "text/javascript" }).end(readFileSync(join("dist", request.url ?? "")));
    } else {
      response.writeHead(404).end();
    }
  }).listen(0, "127.0.0.1");
  await once(pages, "listening");
  const origin = `http://localhost:${(pages.address() as AddressInfo).port}`;
  base = (await new RealServer("--cors-origins", origin).start()).base;

  const profile = mkdtempSync(join(tmpdir(), "callhistory-"));
  const flags = ["--headless", "--no-sandbox", "--disable-gpu", `--user-data-dir=${profile}`, origin];
  const chromium = spawn(browser ?? "", flags, { stdio: "ignore" });
  const late = new Promise<string>((resolve) => setTimeout(resolve, 120_000, "no result").unref());
  const found = await Promise.race([result, late]);
  const ended = once(chromium, "exit");
  chromium.kill();
  await ended;
  pages.closeAllConnections();
  pages.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
  const error = ["precondition_failed", true, 32];
  assert.deepEqual(JSON.parse(found), { unchanged: true, listed: 10, exported: 10, lines: 11, error, changes: 10 }, found);
});
