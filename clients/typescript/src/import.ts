import { CallHistoryError, invalid } from "./errors.js";
import { hasMediaType } from "./transport.js";
import type { Outgoing } from "./transport.js";
import type { ImportedCall, ImportProgress, ImportReport, JsonCodec } from "./types.js";

const REQUEST_RECORDS = 500;
const REQUEST_BYTES = 4 * 1024 * 1024;
const ATOMIC_RECORDS = 10_000;
const ATOMIC_BYTES = 32 * 1024 * 1024;
const MAX_ERRORS = 1_000;

interface Import {
  request: Outgoing;
  json: JsonCodec;
  isAtomic: boolean;
  onProgress: ((progress: ImportProgress) => void) | undefined;
}

/** Sends records in requests of bounded size, and adds their reports. */
export async function importCalls(
  send: (request: Outgoing) => Promise<ImportReport>,
  { request, json, isAtomic, onProgress }: Import,
  calls: Iterable<ImportedCall> | AsyncIterable<ImportedCall>,
): Promise<ImportReport> {
  const encoder = new TextEncoder();
  let written: ImportProgress = { records: 0, report: emptyReport() };
  let lines: string[] = [];
  let bytes = 0;
  const flush = async () => {
    try {
      const report = await send({ ...request, body: lines.join(""), accepts: isReport });
      written = { records: written.records + lines.length, report: sum(written.report, report, written.records) };
    } catch (error) {
      if (error instanceof CallHistoryError) error.imported = written;
      throw error;
    }
    lines = [];
    bytes = 0;
    onProgress?.(written);
  };
  for await (const call of calls) {
    const text = json.stringify(call);
    if (text === undefined) throw invalid("a record is not JSON");
    lines.push(`${text}\n`);
    bytes += encoder.encode(text).length + 1;
    if (isAtomic && (lines.length > ATOMIC_RECORDS || bytes > ATOMIC_BYTES)) {
      throw invalid("an atomic import has at most 10,000 records and 32 MiB");
    }
    if (!isAtomic && (lines.length === REQUEST_RECORDS || bytes >= REQUEST_BYTES)) await flush();
  }
  if (lines.length > 0) await flush();
  return written.report;
}

/** A request of which nothing was taken has the status of an error, and a report like any other. */
function isReport(response: Response): boolean {
  return response.status === 422 && hasMediaType(response, "application/json");
}

function emptyReport(): ImportReport {
  return {
    created: 0,
    replaced: 0,
    merged: 0,
    unchanged: 0,
    stale: 0,
    deleted: 0,
    repeated: 0,
    skipped: 0,
    rejected: 0,
    warned: 0,
    aborted: false,
    errors: [],
    warnings: [],
  };
}

/** Adds the report of a request that begins after a number of records. */
function sum(report: ImportReport, part: ImportReport, sent: number): ImportReport {
  const total = { ...report };
  for (const [name, value] of Object.entries(part) as [keyof ImportReport, unknown][]) {
    // A later version of the service may count more.
    if (typeof value === "number") Object.assign(total, { [name]: Number(total[name] ?? 0) + value });
  }
  const moved = <T extends { line: number }>(parts: readonly T[]) => parts.map((it) => ({ ...it, line: it.line + sent }));
  total.aborted = report.aborted || part.aborted;
  total.errors = [...report.errors, ...moved(part.errors)].slice(0, MAX_ERRORS);
  total.warnings = [...report.warnings, ...moved(part.warnings)].slice(0, MAX_ERRORS);
  return total;
}
