// Real calls with the types that openapi-typescript makes of the contract. The first argument is the service.
import createClient from "openapi-fetch";
import type { components, paths } from "./callhistory.js";

declare const process: { argv: string[] };

type CallRecord = components["schemas"]["CallRecord"];
type Problem = components["schemas"]["Problem"];

const header = { "x-workspace-id": "typescript" };
const client = createClient<paths>({ baseUrl: process.argv[2] ?? "http://127.0.0.1:8080" });

function expect(truth: boolean, what: string): asserts truth {
  if (!truth) throw new Error(what);
}

for (const [id, status] of [["ts-1", "completed"], ["ts-2", "busy"]] as const) {
  const { response } = await client.PUT("/v2/api/call-history/{callHistoryId}", {
    params: { header, path: { callHistoryId: id } },
    body: { status, startTime: 1680000000, cost: { customer_charge: 0.1 } },
  });
  expect(response.ok, `put ${id}: ${response.status}`);
}

const one = await client.GET("/v2/api/call-history/{callHistoryId}", {
  params: { header, path: { callHistoryId: "ts-1" } },
});
const call: CallRecord | undefined = one.data;
expect(call?._id === "ts-1" && call.cost?.customer_charge === 0.1, "get_call");
console.log(`get_call: ${call._id} ${call.status}`);

const list = await client.GET("/v2/api/call-history", {
  params: { header, query: { status: "busy,failed", startedAfter: "2023-01-01", limit: 50, fields: "_id,status" } },
});
expect(list.data?.length === 1 && list.data[0]?._id === "ts-2" && list.data[0].cost === undefined, "list_calls");
console.log(`list_calls: ${list.data.map((listed) => `${listed._id} ${listed.status}`)}`);

const none = await client.GET("/v2/api/call-history/{callHistoryId}", {
  params: { header, path: { callHistoryId: "none" } },
});
const problem: Problem | undefined = none.error;
expect(none.response.status === 404 && problem?.code === "call_not_found", "a problem");
console.log(`404: ${problem.code}, ${problem.detail}`);
