// The filters above the charts: those of the list, with a period that is bounded unless all of it is asked for.

import { html } from "../vendor/lit-html/lit-html.js";
import { chartParams } from "./chart_data.js";
import { FilterBar } from "./filter_bar.js";
import { presetChanges } from "./filter_editor.js";

const TIMES = ["startedAfter", "startedBefore", "dateRange"];

export class ChartFilters extends FilterBar {
  /**
   * @param {Ctx} ctx
   * @param {string | null} preset null for all time
   * @override
   */
  preset(ctx, preset) {
    const { params } = ctx.state;
    const range = preset ?? "all";
    const isOn = !TIMES.some((name) => params.has(name)) && chartParams(ctx.state).get("range") === range;
    // Bars of the last period may be too many or too few for this one.
    const changes = { ...presetChanges(ctx, preset), range, interval: null };
    return html`<button type="button" aria-pressed=${isOn ? "true" : "false"} @click=${() => this.apply(ctx, changes)}>${
      ctx.t(`filters.preset.${preset ?? "any"}`)}</button>`;
  }
}
