// Whether the server is alive and ready, and what the key may do.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ApiError, isAborted } from "../api.js";
import { missingScope } from "./states.js";

/** @typedef {"unknown" | "good" | "bad"} Verdict */
/** @type {{ isLoading: boolean, alive: Verdict, ready: Verdict, reason: string }} */
let health = { isLoading: false, alive: "unknown", ready: "unknown", reason: "" };
/** @type {Map<string, "yes" | "no" | "unclear"> | null} null until it was asked for */
let scopes = null;

/** The ID of no record, and the entity tag of no version: nothing can be written or deleted with them. */
const NO_CALL = "console.asks.for.its.scopes";
const NO_VERSION = { "if-match": "\"0-none\"" };

/** @type {Array<[string, string, string, string, Record<string, string>]>} scope, method, path, body, headers */
const PROBES = [
  ["calls:read", "GET", "?limit=1", "", {}],
  ["calls:write", "PUT", `/${NO_CALL}`, "{}", NO_VERSION],
  ["calls:delete", "DELETE", `/${NO_CALL}`, "", NO_VERSION],
  ["calls:export", "GET", `/export?format=ndjson&callIds=${NO_CALL}`, "", {}],
  ["phone-numbers:read", "GET", "?phoneNumber=%2B0&limit=1", "", {}],
];

/** @param {Ctx} ctx */
export async function loadHealth(ctx) {
  scopes = null;
  health = { ...health, isLoading: true };
  ctx.update();
  const [alive, ready] = await Promise.all(["/healthz", "/readyz"].map((path) => ask(ctx, path)));
  if (ctx.signal.aborted || alive === undefined || ready === undefined) return;
  health = { isLoading: false, alive: alive[0], ready: ready[0], reason: ready[1] };
  ctx.update();
}

/** @param {Ctx} ctx @param {string} path @returns {Promise<[Verdict, string]>} */
async function ask(ctx, path) {
  try {
    await ctx.api.get(path, {}, { signal: ctx.signal });
    return ["good", ""];
  } catch (error) {
    if (isAborted(error)) return ["unknown", ""];
    return ["bad", error instanceof ApiError ? error.detail : ctx.t("state.network.text")];
  }
}

/** @param {Ctx} ctx Asks with requests that change nothing. */
async function loadScopes(ctx) {
  scopes = new Map();
  for (const [scope, method, path, body, headers] of PROBES) {
    const answer = await probe(ctx, scope, method, path, body, headers);
    if (ctx.signal.aborted) return;
    scopes.set(scope, answer);
    ctx.update();
  }
  ctx.announce(ctx.t("operate.scopes.done"));
}

/**
 * @param {Ctx} ctx
 * @param {string} scope
 * @param {string} method
 * @param {string} path
 * @param {string} body
 * @param {Record<string, string>} headers
 * @returns {Promise<"yes" | "no" | "unclear">}
 */
async function probe(ctx, scope, method, path, body, headers) {
  const url = `/v2/api/call-history${path}`;
  try {
    await (method === "GET" ? ctx.api.get(url, {}, { signal: ctx.signal }) : ctx.api.send(method, url, body, headers));
    return "yes";
  } catch (error) {
    if (!(error instanceof ApiError)) return "unclear";
    if (error.status === 403) return missingScope(error) === scope ? "no" : "unclear";
    // The record is not there, or not in this version: the scope was checked before.
    return error.status === 404 || error.status === 412 ? "yes" : "unclear";
  }
}

/** @param {Ctx} ctx @returns {Template} */
export function serverHealth(ctx) {
  const { t, config } = ctx;
  return html`
    <section class="card" aria-labelledby="health-title">
      <h2 id="health-title">${t("operate.health")}</h2>
      <dl class="operate-facts">
        <div><dt>${t("operate.health.alive")}</dt><dd>${verdict(t, health.alive)}</dd></div>
        <div><dt>${t("operate.health.ready")}</dt><dd>${verdict(t, health.ready)}</dd></div>
        ${config.version === "" ? nothing : html`<div><dt>${t("operate.health.version")}</dt><dd>${config.version}</dd></div>`}
      </dl>
      ${health.reason === "" ? nothing : html`<p class="operate-note chip-error">${health.reason}</p>`}
      <div class="operate-actions"><button class="button" type="button" ?disabled=${health.isLoading}
        @click=${() => loadHealth(ctx)}>${t("operate.health.check")}</button></div>
    </section>`;
}

/** @param {Translate} t @param {Verdict} value */
function verdict(t, value) {
  const tones = { good: "chip-ok", bad: "chip-error", unknown: "" };
  return html`<span class="chip ${tones[value]}">${t(`operate.verdict.${value}`)}</span>`;
}

/** @param {Ctx} ctx @returns {Template} */
export function keyScopes(ctx) {
  const { t, session, state } = ctx;
  const command = `callhistory-server keys create --workspace ${state.workspace} --scopes calls:read,phone-numbers:read --expires-in 90d`;
  const found = scopes;
  return html`
    <section class="card" aria-labelledby="key-title">
      <h2 id="key-title">${t("operate.key")}</h2>
      ${session.key === "" ? html`<p>${t("operate.key.none")}</p>` : html`
        <p class="muted">${t("operate.key.text")}</p>
        ${found === null ? nothing : html`<dl class="operate-facts">${[...found].map(([scope, answer]) => html`
          <div><dt><code>${scope}</code> <span class="muted">${t(`operate.scope.${scope}`)}</span></dt>
            <dd><span class="chip ${answer === "yes" ? "chip-ok" : answer === "no" ? "chip-warn" : ""}">${t(`operate.answer.${answer}`)}</span></dd></div>`)}</dl>`}
        <div class="operate-actions"><button class="button" type="button" @click=${() => loadScopes(ctx)}>${t("operate.key.check")}</button></div>`}
      <h3>${t("operate.keys")}</h3>
      <p class="muted">${t("operate.keys.text")}</p>
      <pre class="operate-code"><code>${command}</code></pre>
    </section>`;
}
