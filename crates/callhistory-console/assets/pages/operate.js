// What keeps the service running: imports, health, keys, and the ways in.

import { html } from "../vendor/lit-html/lit-html.js";
import { PREFIX, urlOf } from "../api.js";
import { curlCommand, shellWord } from "../parts/call_code.js";
import { copyButton } from "../parts/copy_button.js";
import { enterImports, importForm } from "../parts/import_form.js";
import { keyScopes, loadHealth, serverHealth } from "../parts/server_health.js";

/** @type {Page} */
export default {
  title: ({ t }) => t("shell.operate"),
  enter(ctx) {
    enterImports(ctx);
    void loadHealth(ctx);
  },
  leave() {},
  render: (ctx) => html`
    <h1>${ctx.t("shell.operate")}</h1>
    <div class="operate">
      ${importForm(ctx)}
      <div class="operate-side">
        ${serverHealth(ctx)}
        ${keyScopes(ctx)}
        ${waysIn(ctx)}
      </div>
    </div>`,
  keys: {},
};

/** @param {Ctx} ctx @returns {Template} */
function waysIn(ctx) {
  const { t, state } = ctx;
  const curl = curlCommand(ctx, urlOf("batch"), ["-H 'content-type: application/x-ndjson'", "--data-binary @calls.ndjson"]);
  const command = `callhistory-server import --workspace ${shellWord(state.workspace)} calls.csv`;
  return html`
    <section class="card" aria-labelledby="ways-title">
      <h2 id="ways-title">${t("operate.ways")}</h2>
      <h3>${t("operate.ways.http")}</h3>
      <pre class="operate-code"><code>${curl}</code></pre>
      ${copyButton(ctx, curl, t("operate.ways.copy-http"))}
      <h3>${t("operate.ways.command")}</h3>
      <pre class="operate-code"><code>${command}</code></pre>
      ${copyButton(ctx, command, t("operate.ways.copy-command"))}
      <p><a href="${PREFIX}/docs/">${t("operate.ways.docs")}</a></p>
    </section>`;
}
