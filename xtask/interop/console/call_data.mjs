// Records for the tests of the call page, and recordings.
export const HOSTILE = `<img src=x onerror=alert(1)>"'\`{{7*7}}</script><svg onload=alert(1)>\u202ejavascript:alert(1)`;
export const START = 1_790_000_000;

/** Sends a record to the API of a server. */
export async function put(base, workspace, id, record, handling = "strict") {
  const body = typeof record === "string" ? record : JSON.stringify(record);
  const headers = { "x-workspace-id": workspace, "content-type": "application/json", prefer: `handling=${handling}` };
  const response = await fetch(`${base}/v2/api/call-history/${encodeURIComponent(id)}`, { method: "PUT", headers, body });
  if (!response.ok) throw new Error(`put ${id}: ${response.status} ${await response.text()}`);
}

/** The text of a call, as the API returns it. */
export async function get(base, workspace, path) {
  const response = await fetch(`${base}/v2/api/call-history${path}`, { headers: { "x-workspace-id": workspace } });
  return { text: await response.text(), headers: response.headers, status: response.status };
}

/** A record with every member, as text: its numbers have digits that a binary float loses. */
export const complete = (recordingUrl) => `{"agentId":"agent-maya","agent":"Maya","callFlowId":"flow-support","callFlowName":"Order support",
"direction":"inbound","fromPhoneNumber":"+493012345678","toPhoneNumber":"+18005550100","status":"ENDED","callId":"CA-1","batchId":"batch-7",
"startTime":${START}.250,"answeredAt":${START + 4}.5,"endTime":${START + 124},"cost":{"customer_charge":0.100000001,"telephony":0.0125,"currency":"EUR"},
"recordingUrl":${JSON.stringify(recordingUrl)},"summary":"The caller asked about a late parcel.",
"analyzedData":{"sentiment":"positive","score":9.50,"reasons":{"b":1,"a":[1,2]}},"metadata":{"crm":{"ticket":12345678901234567890123}},"variables":{"language":"en"},
"functionCalls":[{"name":"lookup_order","arguments":"{\\"order\\":\\"A-1009\\"}","result":{"total":59.90},"time":21.5}],
"transcript":[{"role":"agent","content":"How can I help?","time":0.5},{"role":"user","content":"My parcel is late.","time":3.2},
{"role":"tool_calls","name":"find_parcel","arguments":{"order":"A-1009"},"time":5},{"role":"tool","content":"{\\"eta\\":1.50}","time":6},
{"role":"agent","content":"It arrives tomorrow.","time":7.5}]}`;

/** Twenty seconds of a tone. */
function tone() {
  const rate = 8000;
  const samples = rate * 20;
  const wav = Buffer.alloc(44 + samples * 2);
  for (const [text, at] of [["RIFF", 0], ["WAVEfmt ", 8], ["data", 36]]) wav.write(text, at);
  const numbers = [[36 + samples * 2, 4, 4], [16, 16, 4], [1, 20, 2], [1, 22, 2], [rate, 24, 4], [rate * 2, 28, 4], [2, 32, 2], [16, 34, 2], [samples * 2, 40, 4]];
  for (const [value, at, size] of numbers) wav.writeUIntLE(value, at, size);
  for (let index = 0; index < samples; index += 1) wav.writeInt16LE(Math.round(Math.sin(index / 4) * 3000), 44 + index * 2);
  return wav;
}

/** The host that the server of the tests has in `recording_hosts`. */
export const RECORDINGS = "https://recordings.example.com";

/** Answers for the host of recordings, with ranges. */
export async function serveRecordings(page) {
  const wav = tone();
  await page.route(`${RECORDINGS}/**`, (route) => {
    const range = route.request().headers().range;
    const [, from, to] = /bytes=(\d+)-(\d*)/.exec(range ?? "") ?? [null, "0", ""];
    const end = to === "" ? wav.length - 1 : Math.min(Number(to), wav.length - 1);
    const headers = { "content-type": "audio/wav", "accept-ranges": "bytes", ...(range ? { "content-range": `bytes ${from}-${end}/${wav.length}` } : {}) };
    return route.fulfill({ status: range ? 206 : 200, headers, body: wav.subarray(Number(from), end + 1) });
  });
}

/** Both schemes of what the page shows. */
export async function axeInBoth(page, axe) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await axe();
  }
}
