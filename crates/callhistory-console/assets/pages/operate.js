import { html } from "../vendor/lit-html/lit-html.js";

/** @type {Page} */
export default {
  title: ({ t }) => t("shell.operate"),
  enter() {},
  leave() {},
  render: ({ t }) => html`<h1>${t("shell.operate")}</h1>`,
  keys: {},
};
