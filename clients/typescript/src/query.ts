import { invalid } from "./errors.js";

/** Lists of names. Every other list is a set of values: `a,b`, `!a`, `*`. */
const NAMES = ["fields", "groupBy"];

/** The paths below the records, none of which is the ID of a record. */
const ROUTES = [".", "..", "batch", "changes", "export", "metrics", "search"];

/** The path of a record, after that of all records. */
export function pathOf(id: string): string {
  if (typeof id !== "string" || id === "" || ROUTES.includes(id)) throw invalid(`${JSON.stringify(id)} is not the ID of a record`);
  return `/${encodeURIComponent(id)}`;
}

/** The parameters of a query, as the service reads them. */
export function parametersOf(query: object): URLSearchParams {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query) as [string, unknown][]) {
    if (value === undefined || value === null) continue;
    if (name === "metadata") {
      for (const [path, text] of Object.entries(value)) parameters.append(`metadata.${path}`, String(text));
    } else {
      parameters.append(name, textOf(name, value));
    }
  }
  return parameters;
}

function textOf(name: string, value: unknown): string {
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) {
    // The service would read a list without items as no filter at all.
    if (value.length === 0) throw invalid(`${name} has no values`);
    if (name === "callIds") return JSON.stringify(value);
    return value.map((item) => (NAMES.includes(name) ? String(item) : literal(String(item)))).join(",");
  }
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Escapes a value, so that the service compares it literally. */
function literal(value: string): string {
  return value.replace(/[\\,*]|^[! ]/g, "\\$&");
}
