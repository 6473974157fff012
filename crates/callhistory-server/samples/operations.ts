// One function per operation: the TypeScript samples of the contract. `cargo xtask interop` compiles and runs them.
import createClient from "openapi-fetch";
import type { paths } from "./callhistory.js"; // npx openapi-typescript openapi.json --output callhistory.d.ts

const client = createClient<paths>({ baseUrl: "http://127.0.0.1:8080" });
const header = { "x-workspace-id": "abcdef1234567890" };

export async function list_calls() {
  const { data, error, response } = await client.GET("/v2/api/call-history", {
    params: { header, query: { status: "completed,failed", startedAfter: "2023-01-01T00:00:00Z", limit: 50 } },
  });
  if (error) throw new Error(error.detail);
  // The `cursor` of the next page; null on the last one.
  const next = response.headers.get("X-Next-Cursor");
  return { calls: data, next };
}

export async function search_calls() {
  const { data, error } = await client.GET("/v2/api/call-history/search", {
    params: { header, query: { q: "customer engagement" } },
  });
  if (error) throw new Error(error.detail);
  return data.hits.map((hit) => ({ id: hit.call._id, snippets: hit.evidence.map((text) => text.snippet) }));
}

export async function create_call() {
  const { data, error } = await client.POST("/v2/api/call-history", {
    params: { header: { ...header, "Idempotency-Key": "order-4711" } },
    body: {
      agentId: "abcdef1234567890",
      direction: "outbound",
      fromPhoneNumber: "+10000000000",
      toPhoneNumber: "+10000000001",
      status: "ongoing",
      startTime: 1680000000,
    },
  });
  if (error) throw new Error(error.detail);
  return data;
}

export async function import_calls() {
  const { data, error } = await client.POST("/v2/api/call-history/batch", {
    params: { header },
    body: [
      { _id: "call-1", status: "completed" },
      { _id: "call-2", status: "busy" },
    ],
  });
  if (error) throw new Error("detail" in error ? error.detail : "every record was rejected");
  for (const rejected of data.errors) console.error(`record ${rejected.line}: ${rejected.detail}`);
  return data;
}

export async function export_calls() {
  const { data, error } = await client.GET("/v2/api/call-history/export", {
    params: { header, query: { agentId: "abcdef1234567890" } },
    parseAs: "stream",
  });
  if (error) throw new Error(error.detail);
  let text = "";
  for await (const part of data!.pipeThrough(new TextDecoderStream())) text += part;
  return text;
}

export async function get_call_metrics() {
  const { data, error } = await client.GET("/v2/api/call-history/metrics", {
    params: { header, query: { status: "completed,failed", groupBy: "day", timezone: "Europe/Berlin" } },
  });
  if (error) throw new Error(error.detail);
  return data;
}

export async function list_call_changes() {
  const { data, error } = await client.GET("/v2/api/call-history/changes", {
    params: { header, query: { limit: 100 } },
  });
  if (error) throw new Error(error.detail);
  // Store `data.cursor` with what the changes led to, and continue there.
  return data;
}

export async function get_call() {
  const { data, error, response } = await client.GET("/v2/api/call-history/{callHistoryId}", {
    params: { header, path: { callHistoryId: "1234567890abcdef" } },
  });
  if (response.status === 404) return null;
  if (error) throw new Error(error.detail);
  return data;
}

export async function replace_call() {
  const { data, error } = await client.PUT("/v2/api/call-history/{callHistoryId}", {
    params: { header, path: { callHistoryId: "1234567890abcdef" } },
    body: {
      agentId: "abcdef1234567890",
      status: "completed",
      startTime: 1680000000,
      endTime: 1680000300,
      cost: { customer_charge: 0.1 },
      summary: "Generic conversation summary about customer engagement.",
    },
  });
  if (error) throw new Error(error.detail);
  return data;
}

export async function update_call() {
  const { data, error } = await client.PATCH("/v2/api/call-history/{callHistoryId}", {
    params: { header, path: { callHistoryId: "1234567890abcdef" } },
    headers: { "Content-Type": "application/merge-patch+json" },
    body: { metadata: { ticket: "A-1009" }, roomName: null },
  });
  if (error) throw new Error(error.detail);
  return data;
}

export async function list_originals() {
  const { data, error } = await client.GET("/v2/api/call-history/{callHistoryId}/originals", {
    params: { header, path: { callHistoryId: "1234567890abcdef" } },
  });
  if (error) throw new Error(error.detail);
  return data;
}

export async function get_original() {
  const { data, error } = await client.GET("/v2/api/call-history/{callHistoryId}/originals/{originalNumber}", {
    params: { header, path: { callHistoryId: "1234567890abcdef", originalNumber: 1 } },
    parseAs: "text",
  });
  if (error) throw new Error(error.detail);
  return data;
}

export async function delete_call() {
  const { error } = await client.DELETE("/v2/api/call-history/{callHistoryId}", {
    params: { header, path: { callHistoryId: "1234567890abcdef" } },
  });
  if (error) throw new Error(error.detail);
}
