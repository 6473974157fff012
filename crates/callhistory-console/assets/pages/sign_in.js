// Asks for the workspace and, where the server requires one, for an API key. It is tried before it is taken.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ApiError, isAborted, NetworkError } from "../api.js";
import { missingScope } from "../parts/states.js";
import { isKey } from "../session.js";
import { isWorkspace, parse, serialize } from "../url_state.js";

/** @type {{ isBusy: boolean, message: string, field: "" | "workspace" | "key" }} */
let form = { isBusy: false, message: "", field: "" };

/** @type {Page} */
export default {
  title: ({ t, config }) => t(config.requireKeys ? "sign-in.title" : "sign-in.workspace.title"),
  enter(ctx) {
    const { refusal } = ctx.session;
    const [field, message] = refusal === null ? [/** @type {const} */ (""), ""] : reason(ctx, refusal);
    form = { isBusy: false, message, field };
    ctx.session.refusal = null;
  },
  leave() {},
  render,
  keys: {},
};

/** @param {Ctx} ctx @returns {Template} */
function render(ctx) {
  const { t, session, config, state } = ctx;
  // A server that refuses without a key requires one, whatever its configuration file says.
  const asksForKey = config.requireKeys || session.key !== "" || config.version === "" || form.field === "key";
  const error = (/** @type {string} */ field) => (form.field === field && form.message !== "" ? "sign-in-error" : nothing);
  return html`
    <form class="sign-in" novalidate @submit=${(/** @type {SubmitEvent} */ event) => submit(ctx, event)}>
      <h1>${t(asksForKey ? "sign-in.title" : "sign-in.workspace.title")}</h1>
      <p class="muted">${t(asksForKey ? "sign-in.text" : "sign-in.workspace.text")}</p>
      <label class="field">${t("sign-in.workspace")}
        <input class="input" name="workspace" required autocomplete="organization" spellcheck="false" list="sign-in-workspaces"
          .value=${state.workspace || config.workspace || ""} aria-invalid=${form.field === "workspace"}
          aria-describedby=${error("workspace")}>
      </label>
      <datalist id="sign-in-workspaces">${session.workspaces().map((name) => html`<option value=${name}></option>`)}</datalist>
      ${asksForKey ? html`
        <label class="field">${t("sign-in.key")}
          <input class="input" name="key" type="password" autocomplete="current-password" spellcheck="false"
            aria-invalid=${form.field === "key"} aria-describedby=${error("key")}>
        </label>
        <label class="check"><input type="checkbox" name="remember" ?checked=${session.remember}> ${t("sign-in.remember")}</label>
        <p class="muted">${t("sign-in.remember.text")}</p>` : nothing}
      <p id="sign-in-error" class="sign-in-error" role="alert">${form.message}</p>
      <button class="button button-primary" type="submit" ?disabled=${form.isBusy}>
        ${t(form.isBusy ? "sign-in.busy" : asksForKey ? "sign-in.submit" : "sign-in.workspace.submit")}
      </button>
      ${asksForKey ? html`<p class="muted">${t("sign-in.create")} <code>callhistory-server keys create --help</code></p>` : nothing}
    </form>`;
}

/**
 * @param {Ctx} ctx
 * @param {SubmitEvent} event
 */
async function submit(ctx, event) {
  event.preventDefault();
  const { t, session } = ctx;
  const data = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
  const workspace = String(data.get("workspace") ?? "").trim();
  const key = String(data.get("key") ?? "").trim();
  if (!isWorkspace(workspace)) return refuse(ctx, "workspace", t("sign-in.workspace.invalid"));
  if (key !== "" && !isKey(key)) return refuse(ctx, "key", t("sign-in.key.invalid"));
  if (ctx.config.requireKeys && key === "") return refuse(ctx, "key", t("sign-in.key.missing"));
  form = { isBusy: true, message: "", field: "" };
  ctx.update();
  const before = { workspace: session.workspace, key: session.key, remember: session.remember };
  session.choose(workspace);
  session.signIn(key, data.get("remember") !== null);
  try {
    await ctx.api.get("", { limit: 1 }, { signal: ctx.signal });
  } catch (error) {
    if (isAborted(error)) return;
    // A key that may only write is a key: the pages say what it lacks.
    if (!(error instanceof ApiError && error.code === "insufficient_scope" && missingScope(error) !== "")) {
      session.choose(before.workspace);
      session.signIn(before.key, before.remember);
      const [field, message] = reason(ctx, error);
      return refuse(ctx, field, message);
    }
  }
  ctx.navigate(target(ctx.state, workspace), { replace: true });
}

/**
 * @param {Ctx} ctx
 * @param {"workspace" | "key" | ""} field
 * @param {string} message
 */
function refuse(ctx, field, message) {
  form = { isBusy: false, message, field };
  ctx.update();
  const name = field === "" ? "workspace" : field;
  requestAnimationFrame(() => {
    const input = document.querySelector(`.sign-in input[name=${name}]`);
    if (input instanceof HTMLElement) input.focus();
  });
}

/** @param {Ctx} ctx @param {unknown} error @returns {["workspace" | "key" | "", string]} the field and the text */
function reason({ t }, error) {
  if (error instanceof NetworkError) return ["", t("state.network.text")];
  if (!(error instanceof ApiError)) return ["", String(error)];
  const texts = /** @type {Record<string, string>} */ ({
    key_missing: t("sign-in.key.missing"),
    key_invalid: t("sign-in.key.unknown"),
    key_expired: t("sign-in.key.expired"),
    key_revoked: t("sign-in.key.revoked"),
  });
  if (error.code === "workspace_forbidden") return ["workspace", t("sign-in.workspace.forbidden")];
  const text = texts[error.code];
  return text === undefined ? ["", error.detail] : ["key", text];
}

/** @param {State} state @param {string} workspace @returns {string} where to go after signing in */
function target(state, workspace) {
  const wanted = parse(state.params.get("return") ?? "");
  if (wanted.page === "sign-in") return serialize({ page: "calls", id: "", workspace, params: new Map() });
  // The filters and the call belong to the workspace of the link.
  const isSame = wanted.workspace === "" || wanted.workspace === workspace;
  return isSame ? serialize({ ...wanted, workspace }) : serialize({ page: "calls", id: "", workspace, params: new Map() });
}
