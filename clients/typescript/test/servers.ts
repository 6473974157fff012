// The server of this checkout, a server whose responses a test writes, and what several tests need.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after } from "node:test";
import { CallHistoryError } from "callhistory";

/** A server with a database of its own, which ends with the tests of its file. */
export class RealServer {
  readonly #data = mkdtempSync(join(tmpdir(), "callhistory-"));
  readonly #flags: string[];
  #child: ChildProcess | undefined;
  base = "";

  constructor(...flags: string[]) {
    this.#flags = flags;
    after(async () => {
      await this.stop();
      rmSync(this.#data, { recursive: true, force: true });
    });
  }

  /** Starts it, again at the same address. */
  async start(): Promise<this> {
    const listen = this.base === "" ? "127.0.0.1:0" : new URL(this.base).host;
    const child = spawn(this.#program, ["--data-dir", this.#data, "--listen", listen, "--log", "off", ...this.#flags], {
      stdio: ["ignore", "pipe", "inherit"],
      // Its variables begin with CALLHISTORY_.
      env: {},
    });
    this.#child = child;
    if (child.stdout === null) throw new Error("the server has no output");
    for await (const line of createInterface(child.stdout)) {
      const base = / at (http:\S+)/.exec(line)?.[1];
      if (base === undefined) continue;
      this.base = base;
      child.stdout.resume();
      return this;
    }
    throw new Error("the server did not start");
  }

  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }

  get #program(): string {
    const program = process.env["SERVER_PROGRAM"];
    if (program === undefined) throw new Error("SERVER_PROGRAM must be the path of callhistory-server");
    return program;
  }
}

export type Handler = (request: IncomingMessage & { text: string }, response: ServerResponse) => void;

/** A server that gives one response after the other, and the last one again. */
export async function stub(...handlers: Handler[]): Promise<{ base: string; requests: { url: string; headers: IncomingMessage["headers"]; text: string }[] }> {
  const requests: { url: string; headers: IncomingMessage["headers"]; text: string }[] = [];
  const server = createServer((request, response) => {
    let text = "";
    request.setEncoding("utf8").on("data", (part: string) => (text += part));
    request.on("end", () => {
      const handler = handlers[Math.min(requests.length, handlers.length - 1)];
      requests.push({ url: request.url ?? "", headers: request.headers, text });
      handler?.(Object.assign(request, { text }), response);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { base: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

/** A base URL at which nobody listens. */
export async function nobody(): Promise<string> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  return `http://127.0.0.1:${port}`;
}

/** A response with JSON. */
export function json(body: unknown, status = 200, headers: Record<string, string> = {}): Handler {
  return (_, response) => {
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
  };
}

/** A problem. */
export function problem(status: number, code: string, headers: Record<string, string> = {}): Handler {
  const body = { type: `urn:callhistory:problem:${code}`, title: "A title", status, code, detail: "secret", requestId: "r1" };
  return json(body, status, { "content-type": "application/problem+json", "x-request-id": "r1", ...headers });
}

/** A response that ends in the middle of its body. */
export function cutOff(text: string, headers: Record<string, string> = {}): Handler {
  return (_, response) => {
    response.writeHead(200, { "content-type": "application/json", ...headers });
    response.write(text, () => response.destroy());
  };
}

/** The error of a call that must fail. */
export async function failure(call: Promise<unknown>): Promise<CallHistoryError> {
  const error: unknown = await call.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert(error instanceof CallHistoryError, String(error));
  return error;
}
