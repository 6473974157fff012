// Runs the samples of the contract in the languages of generated clients. The arguments are the service, the folder of the samples,
// and Python.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const [base, folder, python] = process.argv.slice(2);
const contract = JSON.parse(readFileSync(`${folder}/../../../openapi/callhistory.json`, "utf8"));
const operations = Object.values(contract.paths).flatMap((path) => Object.values(path));
const example = (id, status, type) =>
  operations.find(({ operationId }) => operationId === id).responses[status].content[type].example;
// What reads comes first, and the deletion last.
const order = (id) => ["list", "search", "get", "export", "create", "import", "replace", "update", "delete"].indexOf(id.split("_")[0]);
const ids = operations.map(({ operationId }) => operationId).sort((one, other) => order(one) - order(other));

/** The samples of a language, with the service and a workspace of their own. */
function use(file, workspace) {
  const text = readFileSync(`${folder}/${file}`, "utf8");
  return text.replaceAll("http://127.0.0.1:8080", base).replaceAll("abcdef1234567890", workspace);
}

async function typescript() {
  // The compiler wrote it here.
  const module = await import("./operations.js");
  const results = [];
  for (const id of ids) results.push(await module[id]());
  return JSON.stringify(results);
}

function inPython() {
  writeFileSync("operations.py", use("operations.py", "python-samples"));
  const run = "import sys, operations; [print(getattr(operations, id)()) for id in sys.argv[1:]]";
  return execFileSync(python, ["-c", run, ...ids], { encoding: "utf8" });
}

function curl() {
  writeFileSync("operations.sh", use("operations.sh", "curl-samples"));
  const run = '. ./operations.sh; for id in "$@"; do "$id" --silent || exit 1; done';
  return execFileSync("sh", ["-c", run, "sh", ...ids], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
}

for (const [workspace, run] of [["typescript-samples", typescript], ["python-samples", inPython], ["curl-samples", curl]]) {
  const headers = { "x-workspace-id": workspace, "content-type": "application/json", prefer: "handling=lenient" };
  const url = `${base}/v2/api/call-history/1234567890abcdef`;
  const original = example("get_original", "200", "*/*");
  const record = JSON.stringify({ ...example("get_call", "200", "application/json"), workspaceId: workspace, agentId: workspace });
  for (const body of [record, original, record]) {
    const written = await fetch(url, { method: "PUT", headers, body });
    if (!written.ok) throw new Error(`${workspace}: ${await written.text()}`);
  }
  const output = await run();
  for (const part of ["customer engagement", "A-1009", "averageDuration", "updatedAt"]) {
    if (!output.includes(part)) throw new Error(`${workspace} did not return ${part}: ${output.slice(0, 4000)}`);
  }
  const left = await fetch(url, { headers });
  if (left.status !== 404) throw new Error(`${workspace}: the record was not deleted`);
  console.log(`${workspace}: ${ids.length} operations`);
}
