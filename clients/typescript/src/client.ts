import { followChanges } from "./changes.js";
import { CallHistoryError, invalid } from "./errors.js";
import { exportCalls, exportFile } from "./export.js";
import { importCalls } from "./import.js";
import { parametersOf, pathOf } from "./query.js";
import { baseOf, open, parse, send, unreadable } from "./transport.js";
import type { Incoming, Outgoing, Target } from "./transport.js";
import type {
  ByteStream,
  CallChangePage,
  CallCreate,
  CallInput,
  CallMetrics,
  CallOptions,
  CallPage,
  CallPatch,
  CallRecord,
  ChangesQuery,
  ClientOptions,
  Complete,
  CreateOptions,
  ExportFormat,
  ExportQuery,
  FollowOptions,
  Handling,
  ImportedCall,
  ImportOptions,
  ImportReport,
  ListQuery,
  MetricsQuery,
  Original,
  OriginalInfo,
  SearchHit,
  SearchPage,
  SearchQuery,
  VersionedCall,
  WriteOptions,
  WriteWarning,
  WrittenCall,
} from "./types.js";

type Records<T> = AsyncGenerator<T, void, void>;

/** A client for the call records of one workspace. Every method rejects with a {@link CallHistoryError}. */
export class Client {
  readonly #target: Target;
  readonly #defaults: CallOptions;

  /** A client of the service at a base URL, such as `http://127.0.0.1:8080`. */
  constructor(baseUrl: string | URL, options: ClientOptions) {
    const { apiKey, fetch = globalThis.fetch, json = JSON, ...defaults } = options;
    this.#target = { base: baseOf(baseUrl), apiKey, fetch, json };
    this.#defaults = defaults;
    this.#checkOptions(defaults);
  }

  /** The same service and key, with other options, such as another workspace. */
  with(options: CallOptions): Client {
    const { base, apiKey, fetch, json } = this.#target;
    const merged = this.#merge(options);
    return new Client(base, { ...merged, workspace: merged.workspace ?? "", apiKey, fetch, json });
  }

  /** Reads a record. */
  async getCall(id: string, options?: CallOptions): Promise<VersionedCall> {
    return this.#versioned(await this.#send({ method: "GET", path: pathOf(id) }, options), false);
  }

  /** Reads a record unless it still is this version; then the result is `undefined`. */
  async getCallIfChanged(id: string, version: string, options?: CallOptions): Promise<VersionedCall | undefined> {
    const incoming = await this.#send(
      {
        method: "GET",
        path: pathOf(id),
        headers: { "if-none-match": version },
        accepts: (response) => response.status === 304,
      },
      options,
    );
    return incoming.response.status === 304 ? undefined : this.#versioned(incoming, false);
  }

  /** Creates a record under an ID of the service. Retries create it once. */
  async createCall(call: CallCreate, options: CreateOptions = {}): Promise<WrittenCall> {
    const { idempotencyKey = crypto.randomUUID(), handling, ...rest } = options;
    return this.#write("POST", "", call, { "idempotency-key": idempotencyKey, prefer: preferenceOf(handling) }, rest);
  }

  /** Creates a record under this ID, or replaces it. */
  async replaceCall(id: string, call: CallInput, options: WriteOptions = {}): Promise<WrittenCall> {
    const { ifMatch, ifNoneMatch, handling, ...rest } = options;
    return this.#write("PUT", pathOf(id), call, conditions(ifMatch, ifNoneMatch, handling), rest);
  }

  /** Changes members of a record. */
  async updateCall(id: string, patch: CallPatch, options: WriteOptions = {}): Promise<WrittenCall> {
    return this.#patch(id, patch, options, {});
  }

  /** Changes members of a record, or creates it from the patch if it does not exist. */
  async upsertCall(id: string, patch: CallPatch, options: WriteOptions = {}): Promise<WrittenCall> {
    return this.#patch(id, patch, options, { upsert: true });
  }

  /** Deletes a record. */
  async deleteCall(id: string, options: Omit<WriteOptions, "handling"> = {}): Promise<void> {
    const { ifMatch, ifNoneMatch, ...rest } = options;
    try {
      await this.#send({ method: "DELETE", path: pathOf(id), headers: conditions(ifMatch, ifNoneMatch, undefined) }, rest);
    } catch (error) {
      // An attempt before, whose response was lost, has deleted it.
      if (!(error instanceof CallHistoryError && error.isNotFound && error.isRepeated)) throw error;
    }
  }

  /** Lists a page of records. */
  listCalls(query?: Complete<ListQuery>, options?: CallOptions): Promise<CallPage>;
  listCalls(query: ListQuery, options?: CallOptions): Promise<CallPage<Partial<CallRecord>>>;
  async listCalls(query: ListQuery = {}, options?: CallOptions): Promise<CallPage> {
    const incoming = await this.#send({ method: "GET", path: "", query: parametersOf(query) }, options);
    const total = incoming.response.headers.get("x-total-count");
    return {
      calls: this.#read(incoming) as CallRecord[],
      next: nextCursor(incoming.response.headers),
      total: total === null ? undefined : Number(total),
    };
  }

  /** All records of a list, page by page. */
  streamCalls(query?: Complete<ListQuery>, options?: CallOptions): Records<CallRecord>;
  streamCalls(query: ListQuery, options?: CallOptions): Records<Partial<CallRecord>>;
  async *streamCalls(query: ListQuery = {}, options?: CallOptions): Records<CallRecord> {
    for await (const page of this.streamPages(query as Complete<ListQuery>, options)) yield* page.calls;
  }

  /** All pages of a list. */
  streamPages(query?: Complete<ListQuery>, options?: CallOptions): Records<CallPage>;
  streamPages(query: ListQuery, options?: CallOptions): Records<CallPage<Partial<CallRecord>>>;
  async *streamPages(query: ListQuery = {}, options?: CallOptions): Records<CallPage> {
    let rest: ListQuery | undefined = { limit: 100, ...query };
    while (rest !== undefined) {
      const page: CallPage = await this.listCalls(rest as Complete<ListQuery>, options);
      yield page;
      rest = following(rest, page.next);
    }
  }

  /** Searches for words: a page of hits, each with the texts that match. */
  searchCalls(query: Complete<SearchQuery>, options?: CallOptions): Promise<SearchPage>;
  searchCalls(query: SearchQuery, options?: CallOptions): Promise<SearchPage<Partial<CallRecord>>>;
  async searchCalls(query: SearchQuery, options?: CallOptions): Promise<SearchPage> {
    const incoming = await this.#send({ method: "GET", path: "/search", query: parametersOf(query) }, options);
    const { hits, next, total } = this.#read(incoming) as SearchPage;
    return { hits, next, total };
  }

  /** All hits of a search, newest first: an order by relevance has only one page. */
  streamSearchHits(query: Complete<SearchQuery>, options?: CallOptions): Records<SearchHit>;
  streamSearchHits(query: SearchQuery, options?: CallOptions): Records<SearchHit<Partial<CallRecord>>>;
  async *streamSearchHits(query: SearchQuery, options?: CallOptions): Records<SearchHit> {
    let rest: SearchQuery | undefined = { limit: 100, sort: "-startTime", ...query };
    while (rest !== undefined) {
      const page: SearchPage = await this.searchCalls(rest as Complete<SearchQuery>, options);
      yield* page.hits;
      rest = following(rest, page.next);
    }
  }

  /** Counts, sums and percentiles of the matching records. */
  async getCallMetrics(query: MetricsQuery = {}, options?: CallOptions): Promise<CallMetrics> {
    const request: Outgoing = { method: "GET", path: "/metrics", query: parametersOf(query) };
    return this.#read(await this.#send(request, options)) as CallMetrics;
  }

  /** The documents of a record as they were sent, where they are not what is stored. */
  async listOriginals(id: string, options?: CallOptions): Promise<OriginalInfo[]> {
    return this.#read(await this.#send({ method: "GET", path: `${pathOf(id)}/originals` }, options)) as OriginalInfo[];
  }

  /** One of these documents, byte for byte. */
  async getOriginal(id: string, number: number, options?: CallOptions): Promise<Original> {
    const request: Outgoing = { method: "GET", path: `${pathOf(id)}/originals/${number}`, headers: { accept: "*/*" } };
    const { response, parts } = await this.#open(request, options);
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    for await (const part of parts) chunks.push(part as Uint8Array<ArrayBuffer>);
    const body = new Uint8Array(await new Blob(chunks).arrayBuffer());
    return { mediaType: response.headers.get("content-type") ?? "", body };
  }

  /**
   * Imports records from any iterable, in requests of up to 500 records or 4 MiB. A rejected record is in the report,
   * with its position as `line`, and does not stop the others. If a request fails, `imported` of the error says what was
   * written before; the whole import can be repeated.
   */
  async importCalls(
    calls: Iterable<ImportedCall> | AsyncIterable<ImportedCall>,
    options: ImportOptions = {},
  ): Promise<ImportReport> {
    const { handling, onProgress, workspace, timeout, maxRetries, headers, signal, ...query } = options;
    const request: Outgoing = {
      method: "POST",
      path: "/batch",
      query: parametersOf(query),
      headers: { prefer: preferenceOf(handling) },
      mediaType: "application/x-ndjson",
    };
    const sent = { workspace, timeout, maxRetries, headers, signal };
    return importCalls(
      async (request) => this.#read(await this.#send(request, sent), true) as ImportReport,
      { request, json: this.#target.json, isAtomic: query.atomic === true, onProgress },
      calls,
    );
  }

  /**
   * Exports all matching records, newest first, from one snapshot. In this order and without `fields`, a broken connection
   * is resumed after the last record.
   */
  exportCalls(query?: Complete<ExportQuery>, options?: CallOptions): Records<CallRecord>;
  exportCalls(query: ExportQuery, options?: CallOptions): Records<Partial<CallRecord>>;
  exportCalls(query: ExportQuery = {}, options?: CallOptions): Records<CallRecord> {
    const merged = this.#merge(options ?? {});
    return exportCalls((query) => this.#openExport("ndjson", query, merged), this.#target.json, query, merged);
  }

  /** Exports as a file: a stream of its bytes. A broken connection ends it with an error. */
  async exportFile(
    format: ExportFormat,
    query: ExportQuery & { bom?: boolean | undefined } = {},
    options?: CallOptions,
  ): Promise<ByteStream> {
    return exportFile(await this.#openExport(format, query, this.#merge(options ?? {})));
  }

  /** Lists the changes after a cursor: one page. */
  async listCallChanges(query: ChangesQuery = {}, options?: CallOptions): Promise<CallChangePage> {
    const request: Outgoing = { method: "GET", path: "/changes", query: parametersOf(query) };
    return this.#read(await this.#send(request, options)) as CallChangePage;
  }

  /**
   * Follows the changes after a cursor until the signal is aborted. Each page has at least one change; save its `cursor`
   * once they are processed. An outage of any length is waited for. Any other error is thrown, also `isCursorExpired`:
   * then start again without a cursor.
   */
  followChanges(options: FollowOptions = {}): Records<CallChangePage> {
    return followChanges((query, options) => this.listCallChanges(query, options), this.#merge(options));
  }

  #merge<T extends CallOptions>(options: T): T {
    this.#checkOptions(options);
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
    return { ...this.#defaults, ...given, headers: { ...this.#defaults.headers, ...options.headers } };
  }

  #checkOptions({ workspace, timeout, maxRetries }: CallOptions): void {
    if (workspace !== undefined && !/^[A-Za-z0-9_.~:@+=-]{1,128}$/.test(workspace)) throw invalid("the workspace is not valid");
    if (timeout !== undefined && !(timeout > 0 && timeout < 2 ** 31)) throw invalid("the timeout is not valid");
    if (maxRetries !== undefined && !(maxRetries >= 0)) throw invalid("maxRetries is not valid");
  }

  #send(request: Outgoing, options: CallOptions = {}): Promise<Incoming> {
    return send(this.#target, request, this.#merge(options));
  }

  #open(request: Outgoing, options: CallOptions = {}): ReturnType<typeof open> {
    return open(this.#target, request, this.#merge(options));
  }

  async #openExport(format: ExportFormat, query: object, options: CallOptions): ReturnType<typeof open> {
    const parameters = parametersOf({ ...query, format });
    return open(this.#target, { method: "GET", path: "/export", query: parameters, headers: { accept: "*/*" } }, options);
  }

  #patch(id: string, patch: CallPatch, options: WriteOptions, query: object): Promise<WrittenCall> {
    const { ifMatch, ifNoneMatch, handling, ...rest } = options;
    return this.#write("PATCH", pathOf(id), patch, conditions(ifMatch, ifNoneMatch, handling), rest, query);
  }

  async #write(
    method: "PUT" | "POST" | "PATCH",
    path: string,
    body: object,
    headers: Record<string, string | undefined>,
    options: CallOptions,
    query: object = {},
  ): Promise<WrittenCall> {
    const text = this.#target.json.stringify(body);
    if (text === undefined) throw invalid("the record is not JSON");
    const mediaType = method === "PATCH" ? "application/merge-patch+json" : "application/json";
    const request: Outgoing = { method, path, query: parametersOf(query), headers, mediaType, body: text };
    const incoming = await this.#send(request, options);
    return { ...this.#versioned(incoming, true), created: incoming.response.status === 201 };
  }

  #versioned(incoming: Incoming, isWrite: boolean): VersionedCall {
    const { headers } = incoming.response;
    return {
      call: this.#read(incoming, isWrite) as CallRecord,
      version: headers.get("etag") ?? "",
      warnings: warningsOf(headers.get("x-callhistory-warnings")),
      text: incoming.text,
      requestId: headers.get("x-request-id") ?? undefined,
    };
  }

  #read(incoming: Incoming, isWrite = false): unknown {
    const value = parse(this.#target.json, incoming, isWrite);
    if (typeof value !== "object" || value === null) throw unreadable(incoming, isWrite, "it is not a document");
    return value;
  }
}

function conditions(
  ifMatch: string | undefined,
  ifNoneMatch: string | undefined,
  handling: Handling | undefined,
): Record<string, string | undefined> {
  return { "if-match": ifMatch, "if-none-match": ifNoneMatch, prefer: preferenceOf(handling) };
}

function preferenceOf(handling: Handling | undefined): string | undefined {
  return handling === undefined ? undefined : `handling=${handling}`;
}

function warningsOf(header: string | null): WriteWarning[] {
  try {
    return header === null ? [] : (JSON.parse(header) as WriteWarning[]);
  } catch {
    return [];
  }
}

/** The query of the next page. */
function following<Q extends ListQuery | SearchQuery>(query: Q, next: string | undefined): Q | undefined {
  if (next !== undefined && next === query.cursor) throw invalid("the service returned the same cursor twice");
  return next === undefined ? undefined : { ...query, cursor: next, page: undefined };
}

/** The cursor of the next page: a header of its own, or part of `Link`. */
function nextCursor(headers: Headers): string | undefined {
  const own = headers.get("x-next-cursor");
  if (own !== null) return own;
  const link = /<([^>]*)>[^,<]*;\s*rel="?next"?/.exec(headers.get("link") ?? "")?.[1];
  return link === undefined ? undefined : (new URL(link, "http://localhost").searchParams.get("cursor") ?? undefined);
}
