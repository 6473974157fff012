// Who uses the page: a workspace and an API key. The key is in memory, and in the storage of the tab only if that is asked for.

import { isWorkspace } from "./url_state.js";
import { isTexts, readJson, readPreference, writePreference } from "./preferences.js";

const KEY_NAME = "callhistory.key";
const MAX_WORKSPACES = 12;
/** Whether a text can be sent in a header. */
const VISIBLE = /^[\x21-\x7e]{1,512}$/;

/** @returns {string} */
function keptKey() {
  try {
    const key = sessionStorage.getItem(KEY_NAME) ?? "";
    return VISIBLE.test(key) ? key : "";
  } catch {
    return "";
  }
}

export class Session {
  /** The workspace of the requests; empty if none is chosen. */
  workspace = "";
  /** The API key; empty without one. */
  key = keptKey();
  /** Whether the key is kept until the tab is closed. */
  remember = this.key !== "";
  /** Why the server has refused the key in the middle of a session. @type {import("./api.js").ApiError | null} */
  refusal = null;

  constructor() {
    const workspace = readPreference("workspace") ?? "";
    if (isWorkspace(workspace)) this.workspace = workspace;
  }

  /**
   * @param {string} key
   * @param {boolean} remember
   */
  signIn(key, remember) {
    this.key = VISIBLE.test(key) ? key : "";
    this.remember = remember;
    try {
      if (remember && this.key !== "") sessionStorage.setItem(KEY_NAME, this.key);
      else sessionStorage.removeItem(KEY_NAME);
    } catch {
      this.remember = false;
    }
  }

  signOut() {
    this.signIn("", false);
    try {
      // The pages of a list are kept with its filters, which may have phone numbers.
      sessionStorage.removeItem("callhistory.pages");
    } catch {
      // The storage is blocked: nothing was kept.
    }
  }

  /** @param {string} workspace */
  choose(workspace) {
    if (!isWorkspace(workspace) || workspace === this.workspace) return;
    this.workspace = workspace;
    writePreference("workspace", workspace);
  }

  /** Keeps the name of the workspace for the list of the chooser. */
  rememberWorkspace() {
    if (this.workspace === "" || this.workspaces()[0] === this.workspace) return;
    const others = this.workspaces().filter((name) => name !== this.workspace);
    writePreference("workspaces", JSON.stringify([this.workspace, ...others].slice(0, MAX_WORKSPACES)));
  }

  /** @returns {string[]} the names of workspaces that were opened here, the last one first */
  workspaces() {
    return readJson("workspaces", isTexts, []).filter(isWorkspace);
  }
}

/**
 * @param {string} key
 * @returns {boolean} whether this can be sent as an API key
 */
export function isKey(key) {
  return VISIBLE.test(key);
}
