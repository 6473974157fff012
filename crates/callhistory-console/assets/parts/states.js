// What a page shows when it has nothing to show: each with the next step.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ApiError, NetworkError } from "../api.js";
import { serialize, withPage } from "../url_state.js";

/** @param {Ctx} ctx @returns {Template} */
export function loadingState({ t }) {
  return html`<div class="state state-loading" role="status">${t("state.loading")}</div>`;
}

/**
 * @param {string} title
 * @param {string} text
 * @param {unknown} [actions] buttons and links
 * @returns {Template}
 */
export function emptyState(title, text, actions = nothing) {
  return html`<div class="state"><h2>${title}</h2><p>${text}</p><div class="state-actions">${actions}</div></div>`;
}

/**
 * Why a page cannot show what it should, and what can be done.
 * @param {Ctx} ctx
 * @param {unknown} error
 * @param {() => void} retry
 * @returns {Template}
 */
export function errorState(ctx, error, retry) {
  const { t } = ctx;
  const [title, text] = describe(ctx, error);
  const id = error instanceof ApiError ? error.requestId : "";
  return html`
    <div class="state state-error" role="alert">
      <h2>${title}</h2>
      <p>${text}</p>
      ${error instanceof ApiError && error.errors.length > 1 ? html`<ul>${error.errors.map((one) => html`
        <li>${one.parameter || one.pointer ? html`<code>${one.parameter ?? one.pointer}</code> ` : nothing}${one.detail ?? ""}</li>`)}</ul>` : nothing}
      ${id === "" ? nothing : html`<p class="muted">${t("state.request-id")} <code>${id}</code></p>`}
      <div class="state-actions">
        <button class="button" type="button" @click=${retry}>${t("state.retry")}</button>
        ${error instanceof ApiError && error.status === 403
          ? html`<a class="button" href=${otherKey(ctx)}>${t("state.other-key")}</a>` : nothing}
      </div>
    </div>`;
}

/** The sign-in page, which leads back to here. @param {Ctx} ctx */
function otherKey({ state }) {
  return serialize({ ...withPage(state, "sign-in"), params: new Map([["return", serialize(state)]]) });
}

/** The scope that a refusal names. @param {ApiError} error @returns {string} */
export function missingScope(error) {
  return /\b(?:calls|phone-numbers|[a-z-]+):(?:read|write|delete|export)\b/.exec(error.detail)?.[0] ?? "";
}

/** @param {Ctx} ctx @param {unknown} error @returns {[string, string]} title and text */
function describe({ t, session }, error) {
  if (error instanceof NetworkError) return [t("state.network"), t("state.network.text")];
  if (!(error instanceof ApiError)) return [t("state.defect"), t("state.defect.text", { message: String(error) })];
  if (error.code === "workspace_forbidden") {
    return [t("state.workspace"), t("state.workspace.text", { workspace: session.workspace })];
  }
  if (error.status === 403) {
    const scope = missingScope(error);
    return [t("state.forbidden"), scope === "" ? error.detail : t("state.forbidden.text", { scope })];
  }
  if (error.status === 429) return [t("state.busy"), t("state.busy.text", { seconds: Math.max(error.retryAfter, 1) })];
  if (error.status >= 500) return [t("state.server"), error.detail];
  return [t("state.refused"), error.detail];
}
