import { html } from "../vendor/lit-html/lit-html.js";

/** @type {Page} */
export default {
  title: ({ t }) => t("shell.charts"),
  enter() {},
  leave() {},
  render: ({ t }) => html`<h1>${t("shell.charts")}</h1>`,
  keys: {},
};
