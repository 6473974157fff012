// Real calls with the client that openapi-generator makes of the contract for `fetch`. The argument is the service.
import { CallsApi, Configuration, ImportAndExportApi, ResponseError } from "./typescript-fetch/index.js";

declare const process: { argv: string[] };

const configuration = new Configuration({ basePath: process.argv[2] ?? "http://127.0.0.1:8080" });
const calls = new CallsApi(configuration);
const xWorkspaceId = "typescript-fetch";

function expect(truth: boolean, what: string): asserts truth {
  if (!truth) throw new Error(what);
}

for (const callHistoryId of ["fetch-1", "fetch-2"]) {
  const callInput = { status: "completed", startTime: 1737062894.975, metadata: { ticket: callHistoryId } };
  await calls.replaceCall({ xWorkspaceId, callHistoryId, callInput });
}
const found = await calls.listCalls({ xWorkspaceId, metadata: { ticket: "fetch-2" } });
expect(found.length === 1 && found[0]?.id === "fetch-2" && found[0].startTime === 1737062894.975, "list_calls");
const file = await new ImportAndExportApi(configuration).exportCalls({ xWorkspaceId });
expect((await file.text()).trim().split("\n").length === 2, "export_calls");
const problem = await calls.getCall({ xWorkspaceId, callHistoryId: "none" }).catch((error: unknown) => error);
expect(problem instanceof ResponseError && problem.response.status === 404, "get_call");
console.log("fetch: listed by metadata, exported");
