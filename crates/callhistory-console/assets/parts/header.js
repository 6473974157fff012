// The frame above every page: navigation, workspace, theme, language, help, session.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { chooseLanguage, language, LANGUAGES } from "../i18n.js";
import { readPreference, writePreference } from "../preferences.js";
import { isWorkspace, serialize, withPage } from "../url_state.js";

const THEMES = ["system", "light", "dark"];

/** @typedef {import("../app.js").ShellType} Shell */

/** @param {Shell} shell @returns {Template} */
export function header(shell) {
  const { t, state } = shell;
  const isSignIn = state.page === "sign-in";
  return html`
    <header class="shell-header">
      <a class="shell-brand" href="#/calls">callhistory</a>
      ${isSignIn ? nothing : html`
        <nav class="shell-nav" aria-label=${t("shell.navigation")}>
          ${["calls", "charts", "operate"].map((page) => link(shell, page))}
        </nav>
        ${workspaceChooser(shell)}`}
      <div class="shell-tools">
        ${select(t("shell.language"), LANGUAGES, language(), (name) => t(`shell.language.${name}`), (chosen) => {
          chooseLanguage(chosen);
          shell.setLanguage();
        })}
        ${select(t("shell.theme"), THEMES, theme(), (name) => t(`shell.theme.${name}`), (chosen) => {
          setTheme(chosen);
          shell.update();
        })}
        <button class="button button-quiet" type="button" aria-label=${t("help.title")} title=${t("help.title")}
          @click=${() => { shell.isHelpOpen = true; shell.update(); }}>?</button>
        ${shell.session.key === "" || isSignIn ? nothing : html`
          <button class="button button-quiet" type="button" @click=${() => shell.signOut()}>${t("shell.sign-out")}</button>`}
      </div>
    </header>`;
}

/** @param {Shell} shell @param {string} page */
function link({ t, state }, page) {
  const isCurrent = state.page === page || (page === "calls" && state.page === "call");
  return html`<a href=${serialize(withPage(state, page))} aria-current=${isCurrent ? "page" : "false"}>${t(`shell.${page}`)}</a>`;
}

/** @param {Shell} shell */
function workspaceChooser(shell) {
  const { t, state, session } = shell;
  /** @param {Event} event */
  const choose = (event) => {
    const input = /** @type {HTMLInputElement} */ (event.currentTarget);
    const name = input.value.trim();
    if (!isWorkspace(name)) {
      input.value = state.workspace;
      shell.announce(t("shell.workspace.invalid"));
    } else if (name !== state.workspace) {
      // Another workspace has other agents and flows: its filters do not carry over.
      const page = state.page === "call" ? "calls" : state.page;
      shell.navigate(serialize({ page, id: "", workspace: name, params: new Map() }));
    }
  };
  return html`
    <label class="shell-workspace"><span>${t("shell.workspace")}</span>
      <input class="input" list="shell-workspaces" .value=${state.workspace} @change=${choose} autocomplete="off" spellcheck="false">
    </label>
    <datalist id="shell-workspaces">${session.workspaces().map((name) => html`<option value=${name}></option>`)}</datalist>`;
}

/**
 * @param {string} label
 * @param {string[]} values
 * @param {string} value
 * @param {(value: string) => string} text
 * @param {(value: string) => void} onChange
 */
function select(label, values, value, text, onChange) {
  return html`
    <select class="input shell-select" aria-label=${label} title=${label}
      @change=${(/** @type {Event} */ event) => onChange(/** @type {HTMLSelectElement} */ (event.currentTarget).value)}>
      ${values.map((name) => html`<option value=${name} ?selected=${name === value}>${text(name)}</option>`)}
    </select>`;
}

function theme() {
  const chosen = readPreference("theme");
  return chosen === "light" || chosen === "dark" ? chosen : "system";
}

/** @param {string} chosen */
function setTheme(chosen) {
  const isSystem = chosen !== "light" && chosen !== "dark";
  writePreference("theme", isSystem ? null : chosen);
  if (isSystem) delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = chosen;
}
