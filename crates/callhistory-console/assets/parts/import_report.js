// What an import has done: counts, warnings, and the lines that were rejected.

import { html, nothing } from "../vendor/lit-html/lit-html.js";

const COUNTS = ["created", "replaced", "merged", "unchanged", "stale", "deleted", "skipped", "rejected", "warned"];
const SHOWN = 20;

/**
 * @param {unknown} body
 * @returns {boolean} whether a response is the report of an import
 */
export function isKnownImport(body) {
  return typeof body === "object" && body !== null && "created" in body && "rejected" in body;
}

/**
 * @param {Ctx} ctx
 * @param {any} report
 * @param {string} name of the file
 * @returns {Template}
 */
export function importReport(ctx, report, name) {
  const { t, format } = ctx;
  const counts = COUNTS.filter((count) => report[count] > 0);
  return html`
    ${report.aborted ? html`<p class="operate-note chip-error">${t("operate.import.aborted")}</p>` : nothing}
    <dl class="operate-counts">
      ${counts.length === 0 ? html`<div><dt>${t("operate.import.empty")}</dt><dd>0</dd></div>` : nothing}
      ${counts.map((count) => html`<div class=${tone(count)}>
        <dt>${t(`operate.count.${count}`)}</dt><dd>${format.number(report[count])}</dd></div>`)}
    </dl>
    ${lines(ctx, report.errors ?? [], "operate.import.errors")}
    ${lines(ctx, report.warnings ?? [], "operate.import.warnings")}
    ${(report.errors ?? []).length + (report.warnings ?? []).length === 0 ? nothing : html`
      <button class="button" type="button" @click=${() => download(`${name}.report.txt`, asText(report))}>
        ${t("operate.import.download")}</button>`}`;
}

/** @param {string} count */
function tone(count) {
  if (count === "rejected") return "operate-count-error";
  return ["warned", "stale", "deleted", "skipped"].includes(count) ? "operate-count-warn" : "";
}

/**
 * @param {Ctx} ctx
 * @param {Array<{ line: number, pointer?: string, code: string, detail: string }>} entries
 * @param {string} title key of the text
 */
function lines({ t, format }, entries, title) {
  if (entries.length === 0) return nothing;
  return html`
    <details class="operate-lines" ?open=${title.endsWith("errors")}>
      <summary>${t(title, { count: entries.length })}</summary>
      <div class="operate-scroll" tabindex="0" role="region" aria-label=${t(title, { count: entries.length })}><table>
        <thead><tr><th scope="col">${t("operate.import.line")}</th><th scope="col">${t("operate.import.member")}</th>
          <th scope="col">${t("operate.import.reason")}</th></tr></thead>
        <tbody>${entries.slice(0, SHOWN).map((entry) => html`<tr>
          <td class="number">${format.number(entry.line)}</td><td><code>${entry.pointer ?? ""}</code></td>
          <td>${entry.detail} <span class="muted">${entry.code}</span></td></tr>`)}</tbody>
      </table></div>
      ${entries.length > SHOWN ? html`<p class="muted">${t("operate.import.more", { count: entries.length - SHOWN })}</p>` : nothing}
    </details>`;
}

/** @param {any} report @returns {string} the report, a line for each entry */
function asText(report) {
  const entries = [...(report.errors ?? []).map((/** @type {any} */ entry) => ["error", entry]),
    ...(report.warnings ?? []).map((/** @type {any} */ entry) => ["warning", entry])];
  const counts = COUNTS.map((count) => `${count}: ${report[count] ?? 0}`).join("\n");
  const rows = entries.map(([kind, { line, pointer, code, detail }]) => `${kind}\tline ${line}\t${pointer ?? ""}\t${code}\t${detail}`);
  return `${counts}\n\n${rows.join("\n")}\n`;
}

/** @param {string} name @param {string} text */
function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
