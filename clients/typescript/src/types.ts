// Names of the types that openapi-typescript makes of the contract, and what this client accepts more generously.
import type { components, operations } from "./contract.js";

type Schemas = components["schemas"];

/** A call record, as the service returns it. Members that this version does not know are there as well. */
export type CallRecord = Schemas["CallRecord"];
/** A call record to write. */
export type CallInput = Schemas["CallInput"];
/** A record to import: one of this service, or of another platform. */
export type ImportedCall = CallInput | Record<string, unknown>;
/** A call record to create. */
export type CallCreate = Schemas["CallCreate"];
/** A JSON Merge Patch (RFC 7396): `null` removes a member, objects are merged. */
export type CallPatch = Schemas["CallPatch"];
export type CallChange = Schemas["CallChange"];
export type CallChangePage = Schemas["CallChangePage"];
export type CallMetrics = Schemas["CallMetrics"];
export type MetricsGroup = Schemas["MetricsGroup"];
export type ImportReport = Schemas["ImportReport"];
export type ImportError = Schemas["ImportError"];
export type ImportWarning = Schemas["ImportWarning"];
export type OriginalInfo = Schemas["OriginalInfo"];
export type Problem = Schemas["Problem"];
export type FieldError = Schemas["FieldError"];
export type SearchEvidence = Schemas["SearchEvidence"];

type Parameters<O extends keyof operations> = NonNullable<operations[O]["parameters"]["query"]>;

type SetName =
  | "agentId"
  | "callFlowId"
  | "pathwayId"
  | "batchId"
  | "status"
  | "outcome"
  | "direction"
  | "callType"
  | "fromPhoneNumber"
  | "toPhoneNumber"
  | "phoneNumber"
  | "currency"
  | "callIds"
  | "fields"
  | "groupBy";
type TimeName = "startedAfter" | "startedBefore" | "updatedAfter" | "updatedBefore";
type JsonName = "dateRange" | "postAnalysis";

/** A text in the syntax of the service, or a list of literal values of which any matches. */
type Widened<K, T> = K extends SetName
  ? T | readonly string[]
  : K extends TimeName
    ? T | number | Date
    : K extends JsonName
      ? T | Record<string, unknown>
      : T;

type Query<O extends keyof operations> = {
  [K in keyof Parameters<O> as Exclude<K, "metadata" | "metadata.NAME">]?: Widened<K, Parameters<O>[K]> | undefined;
};

/** Filters by a path of `metadata`, such as `{ ticket: "A-1" }` or `{ "order.id": "7" }`. */
interface MetadataFilter {
  metadata?: Record<string, string> | undefined;
}

/** Filters, sort, fields and page of a list. */
export type ListQuery = Query<"list_calls"> & MetadataFilter;
/** The same for a search; `q` has the words. */
export type SearchQuery = Query<"search_calls"> & MetadataFilter & { q: string };
/** The filters of metrics, and `groupBy`. */
export type MetricsQuery = Query<"get_call_metrics"> & MetadataFilter;
/** The filters of an export, its sort and its fields. */
export type ExportQuery = Omit<Query<"export_calls">, "format"> & MetadataFilter;
export type ChangesQuery = Query<"list_call_changes">;
export type ImportQuery = Query<"import_calls">;

/** A query without `fields`: its records are complete. */
export type Complete<Q> = Q & { fields?: undefined };

/** The formats of {@link Client.exportFile}. */
export type ExportFormat = NonNullable<Parameters<"export_calls">["format"]>;

/** The bytes of a file, as a stream that `for await`, `fs.writeFile` and `new Response(…)` take. */
export type ByteStream = ReadableStream<Uint8Array> & AsyncIterable<Uint8Array>;

/** A record with its version. */
export interface VersionedCall {
  call: CallRecord;
  /** The entity tag, for `ifMatch`. It is opaque. */
  version: string;
  /** What the service changed or left out of a write. */
  warnings: WriteWarning[];
  /** The body of the response: numbers have the digits that were stored. */
  text: string;
  /** ID of the request in the log of the service. */
  requestId: string | undefined;
}

/** A record after a write. */
export interface WrittenCall extends VersionedCall {
  /** Whether the write created the record. */
  created: boolean;
}

export interface WriteWarning {
  pointer: string;
  code: string;
}

/** A page of a list. */
export interface CallPage<T = CallRecord> {
  calls: T[];
  /** Cursor of the next page; absent on the last one. */
  next: string | undefined;
  /** Number of all matching records, if `includeTotal` asks for it. */
  total: number | undefined;
}

export interface SearchHit<T = CallRecord> {
  call: T;
  evidence: SearchEvidence[];
}

/** A page of a search. */
export interface SearchPage<T = CallRecord> {
  hits: SearchHit<T>[];
  next: string | undefined;
  total: number | undefined;
}

/** A document as it was sent. */
export interface Original {
  mediaType: string;
  body: Uint8Array;
}

/** What an import has written so far. */
export interface ImportProgress {
  /** Number of records in the requests that succeeded, from the start of the iterable. */
  records: number;
  report: ImportReport;
}

/** Whether a write must keep every rule, or keeps what it can. */
export type Handling = "strict" | "lenient";

/** Options of one call, or of all calls of a client. */
export interface CallOptions {
  /** Another workspace than that of the client. */
  workspace?: string | undefined;
  /** Milliseconds for one attempt, and between two parts of an export. Default: 30,000. */
  timeout?: number | undefined;
  /** Number of retries after the first attempt. Default: 3. */
  maxRetries?: number | undefined;
  /** Further headers, such as `traceparent`. */
  headers?: Record<string, string> | undefined;
  /** Stops the call, which then rejects with the reason of the signal. */
  signal?: AbortSignal | undefined;
}

export interface WriteOptions extends CallOptions {
  /** Write only if the record is this version, or exists (`*`). */
  ifMatch?: string | undefined;
  /** Write only if the record is not this version, or does not exist (`*`). */
  ifNoneMatch?: string | undefined;
  handling?: Handling | undefined;
}

export interface CreateOptions extends CallOptions {
  /** Your key, such as the ID of a job: the same record under the same key is created once. Default: a random one. */
  idempotencyKey?: string | undefined;
  handling?: Handling | undefined;
}

export interface ImportOptions extends CallOptions, ImportQuery {
  handling?: Handling | undefined;
  /** Called after each request. */
  onProgress?: ((progress: ImportProgress) => void) | undefined;
}

export interface FollowOptions extends Omit<CallOptions, "maxRetries"> {
  /** The cursor that was saved last; without it, the feed starts at the first change. `latest` is its end. */
  cursor?: string | undefined;
  /** Seconds that the service waits for a change, at most 60. Default: 30. */
  wait?: number | undefined;
  /** Changes in a page, at most 1,000. */
  limit?: number | undefined;
  /** Called before each wait for a service that cannot be reached. */
  onOutage?: ((outage: Outage) => void) | undefined;
}

export interface Outage {
  error: Error;
  /** Number of failures since the last response. */
  failures: number;
  /** Milliseconds until the next attempt. */
  delay: number;
}

/** Reads and writes JSON, as the global `JSON` does. */
export interface JsonCodec {
  parse(text: string): unknown;
  stringify(value: unknown): string | undefined;
}

/** The options of a client. */
export interface ClientOptions extends CallOptions {
  workspace: string;
  /** An API key, if the server requires keys. */
  apiKey?: string | undefined;
  /** Another `fetch`, such as one with a proxy. */
  fetch?: typeof fetch | undefined;
  /** Another reader and writer of JSON, such as `lossless-json`, which keeps the digits of numbers. */
  json?: JsonCodec | undefined;
}
