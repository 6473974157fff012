// The shell: routes the fragment to a page, draws the frame around it, and holds what pages share.

import { html, nothing, render } from "./vendor/lit-html/lit-html.js";
import { Api } from "./api.js";
import { formatter, language, localZone, translator } from "./i18n.js";
import { Session } from "./session.js";
import { parse, serialize, withPage } from "./url_state.js";
import { handleKey } from "./parts/keyboard.js";
import { header } from "./parts/header.js";
import { helpDialog } from "./parts/help.js";
import { errorState } from "./parts/states.js";

/** @type {Record<string, () => Promise<{ default: Page }>>} */
const PAGES = {
  calls: () => import("./pages/calls.js"),
  call: () => import("./pages/call.js"),
  charts: () => import("./pages/charts.js"),
  operate: () => import("./pages/operate.js"),
  "sign-in": () => import("./pages/sign_in.js"),
};

/** @type {Config} */
const NO_CONFIG = { version: "", requireKeys: false, recordingHosts: [], workspace: null };

class Shell {
  session = new Session();
  api = new Api(this.session, (error) => this.signIn(error));
  config = NO_CONFIG;
  state = parse(location.hash);
  /** @type {Page | null} */
  page = null;
  /** @type {unknown} why the page could not be opened */
  failure = null;
  /** @type {Ctx | null} */
  ctx = null;
  visit = new AbortController();
  t = translator(language());
  isHelpOpen = false;
  #isUpdatePlanned = false;

  async start() {
    this.setLanguage();
    // The page loads while the server is asked. Whether it fails is seen when it is opened.
    PAGES[this.state.page]?.().catch(() => {});
    try {
      const { body } = await this.api.get("/console/config.json");
      this.config = { ...NO_CONFIG, ...body };
    } catch {
      // The page works without: it asks for a workspace and shows recordings as links.
    }
    addEventListener("hashchange", () => this.route());
    addEventListener("keydown", (event) => handleKey(this, event));
    await this.route();
  }

  setLanguage() {
    const chosen = language();
    this.t = translator(chosen);
    document.documentElement.lang = chosen;
    if (this.ctx !== null) Object.assign(this.ctx, { t: this.t, format: this.formatter(this.state) });
    this.update();
  }

  /** @param {State} state */
  formatter(state) {
    return formatter(language(), state.params.get("timezone") ?? localZone());
  }

  /** Follows the fragment. */
  async route() {
    const before = this.state;
    const state = this.completed(parse(location.hash));
    if (state === null) return;
    this.state = state;
    this.session.choose(state.workspace);
    if (state.page !== "sign-in") this.session.rememberWorkspace();
    const isSame = before.page === state.page && before.id === state.id && before.workspace === state.workspace;
    if (isSame && this.ctx !== null && this.page?.change !== undefined) {
      Object.assign(this.ctx, { state, format: this.formatter(state) });
      this.page.change(this.ctx, before);
      this.update();
      return;
    }
    await this.open(state, this.ctx !== null && before.page !== state.page);
  }

  /**
   * The state with its workspace; null if the URL changes first.
   * @param {State} state
   * @returns {State | null}
   */
  completed(state) {
    if (state.page === "sign-in") return { ...state, workspace: state.workspace || this.session.workspace };
    const workspace = state.workspace || this.session.workspace || this.config.workspace || "";
    if (workspace === "" || (this.config.requireKeys && this.session.key === "")) {
      this.signIn();
      return null;
    }
    const complete = { ...state, workspace };
    const hash = serialize(complete);
    if (hash !== location.hash) history.replaceState(null, "", hash);
    return complete;
  }

  /**
   * @param {State} state
   * @param {boolean} moves whether the focus goes to the new page
   */
  async open(state, moves) {
    if (this.ctx !== null) this.page?.leave(this.ctx);
    this.visit.abort();
    this.visit = new AbortController();
    const { signal } = this.visit;
    try {
      const page = (await (PAGES[state.page] ?? PAGES["calls"])?.())?.default ?? null;
      if (signal.aborted) return;
      [this.page, this.failure, this.ctx] = [page, null, this.context(state, signal)];
      page?.enter(this.ctx);
    } catch (error) {
      if (signal.aborted) return;
      [this.page, this.failure, this.ctx] = [null, error, this.context(state, signal)];
    }
    this.update();
    if (moves) requestAnimationFrame(() => document.getElementById("main")?.focus());
  }

  /**
   * @param {State} state
   * @param {AbortSignal} signal
   * @returns {Ctx}
   */
  context(state, signal) {
    return {
      state,
      signal,
      api: this.api,
      session: this.session,
      config: this.config,
      t: this.t,
      format: this.formatter(state),
      navigate: (hash, options) => this.navigate(hash, options),
      update: () => this.update(),
      draw: () => this.render(),
      announce: (text) => this.announce(text),
    };
  }

  /**
   * @param {string} hash
   * @param {{ replace?: boolean }} [options]
   */
  navigate(hash, { replace = false } = {}) {
    if (!hash.startsWith("#/") || hash === location.hash) return;
    if (!replace) {
      location.hash = hash;
      return;
    }
    history.replaceState(null, "", hash);
    void this.route();
  }

  /**
   * Opens the sign-in page, which leads back to here.
   * @param {import("./api.js").ApiError | null} [refusal] why the key is no longer accepted
   */
  signIn(refusal = null) {
    const here = parse(location.hash);
    if (here.page === "sign-in") return;
    this.session.refusal = this.session.key === "" ? null : refusal;
    const target = location.hash === "" ? serialize(here) : location.hash;
    const state = { ...withPage(here, "sign-in"), params: new Map([["return", target]]) };
    this.navigate(serialize(state), { replace: true });
  }

  /** Forgets the key and, by loading the page again, everything that was read with it. */
  signOut() {
    this.session.signOut();
    location.hash = serialize({ page: "sign-in", id: "", workspace: this.session.workspace, params: new Map() });
    location.reload();
  }

  /** @param {string} text */
  announce(text) {
    const live = document.getElementById("live");
    if (live === null) return;
    // The same text twice would not be a change.
    live.textContent = live.textContent === text ? `${text}\u00a0` : text;
  }

  update() {
    if (this.#isUpdatePlanned) return;
    this.#isUpdatePlanned = true;
    requestAnimationFrame(() => {
      this.#isUpdatePlanned = false;
      this.render();
    });
  }

  render() {
    const { ctx, page, t } = this;
    const root = document.getElementById("app");
    if (root === null || ctx === null) return;
    document.title = page === null ? "callhistory" : `${page.title(ctx)} · callhistory`;
    const content = page === null ? errorState(ctx, this.failure, () => location.reload()) : page.render(ctx);
    render(html`
      <a class="skip-link" href="#main" @click=${skip}>${t("shell.skip")}</a>
      ${header(this)}
      <main id="main" tabindex="-1" class="page page-${this.state.page}">${content}</main>
      ${this.isHelpOpen ? helpDialog(this) : nothing}
    `, root);
  }
}

/** The fragment is the state of the page, so the link moves the focus itself. @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

/** @typedef {Shell} ShellType */

export const shell = new Shell();
void shell.start();
