import { html } from "../vendor/lit-html/lit-html.js";

/** @type {Page} */
export default {
  title: ({ t }) => t("shell.calls"),
  enter() {},
  leave() {},
  render: ({ t }) => html`<h1>${t("shell.calls")}</h1>`,
  keys: {},
};
