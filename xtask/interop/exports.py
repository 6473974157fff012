"""Reads exports with other programs: Python's csv, openpyxl and DuckDB. The first argument is the service."""

import csv
import datetime
import decimal
import io
import json
import sys
import urllib.request

import duckdb
import openpyxl
from openpyxl.utils.escape import unescape

CALLS = f"{sys.argv[1]}/v2/api/call-history"
HEADERS = {"x-workspace-id": "exports", "content-type": "application/json"}
HOSTILE = {
    "summary": '=HYPERLINK("http://x")',
    "agent": "@SUM(1)",
    "callId": "00123456789012345678",
    "batchId": "1E5",
    "agentId": "-2",
    "roomName": "a\u0001b\tc",
    "callFlowName": '"',
    "fromPhoneNumber": "+493012345678",
    "toPhoneNumber": "_x0041_",
    "status": "line\r\nbreak",
    "recordingUrl": "\U0001f600" * 2000,
    "metadata": {"a": 'b,"c"'},
    "startTime": 1767225600.25,
    "endTime": 1767225700,
    "transcript": [{"content": "x" * 40_000}],
}
COST = decimal.Decimal("-123456789.123456789")


def request(path, body=None, method="GET"):
    with urllib.request.urlopen(urllib.request.Request(CALLS + path, body, HEADERS, method=method)) as response:
        return response.read()


body = json.dumps(HOSTILE)[:-1] + f', "cost": {{"customer_charge": {COST}, "currency": "EUR"}}}}'
request("/hostile", body.encode(), "PUT")
request("/plain", b'{"status": "completed", "startTime": 1}', "PUT")
texts = [name for name, value in HOSTILE.items() if isinstance(value, str)]

csv.field_size_limit(1 << 24)
rows = list(csv.DictReader(io.StringIO(request("/export?format=csv").decode(), newline="")))
assert [row["_id"] for row in rows] == ["hostile", "plain"], rows
assert {name: rows[0][name] for name in texts} == {name: HOSTILE[name] for name in texts}
assert json.loads(rows[0]["transcript"]) == HOSTILE["transcript"]
assert decimal.Decimal(rows[0]["cost.customer_charge"]) == COST and rows[0]["duration"] == "99.75"
start = datetime.datetime.fromisoformat(rows[0]["startTimeIso"].replace("Z", "+00:00"))
assert start.timestamp() == HOSTILE["startTime"], start
print(f"csv: {len(rows)} rows")

book = openpyxl.load_workbook(io.BytesIO(request("/export?format=xlsx&timezone=Asia/Tokyo")))
sheet = book["Calls"]
names = [cell.value for cell in sheet[1]]
cells = dict(zip(names, sheet[2]))
shown = {**HOSTILE, "roomName": "ab\tc", "status": "line\nbreak"}
for name in texts:
    # openpyxl leaves escapes that spreadsheet programs undo.
    value = unescape(cells[name].value)
    assert (cells[name].data_type, value) == ("s", shown[name]), (name, value)
assert cells["startTime (Asia/Tokyo)"].value == datetime.datetime(2026, 1, 1, 9, 0, 0, 250000)
assert cells["duration"].value == 99.75 and abs(cells["cost.customer_charge"].value - float(COST)) < 1e-6
assert len(cells["transcript"].value) == 32_767 and cells["transcript"].value.endswith("…")
assert sheet.freeze_panes == "A2" and sheet["A1"].font.bold
print(f"xlsx: {sheet.max_row} rows")

with open("calls.parquet", "wb") as file:
    file.write(request("/export?format=parquet"))
table = duckdb.sql("SELECT * FROM 'calls.parquet'")
types = dict(zip(table.columns, map(str, table.types)))
assert types["cost.customer_charge"] == "DECIMAL(38,9)" and types["duration"] == "DECIMAL(18,9)", types
assert types["startTime"] == "TIMESTAMP WITH TIME ZONE" and types["_id"] == "VARCHAR", types
row = dict(zip(table.columns, table.fetchall()[0]))
assert {name: row[name] for name in texts} == {name: HOSTILE[name] for name in texts}
assert row["cost.customer_charge"] == COST and row["duration"] == decimal.Decimal("99.75"), row
assert row["startTime"].timestamp() == HOSTILE["startTime"] and json.loads(row["metadata"]) == HOSTILE["metadata"]
micros = duckdb.sql("SELECT sum(\"cost.customer_charge\"), count(agent) FROM 'calls.parquet'").fetchall()[0]
assert micros == (COST, 1), micros
print(f"parquet: {len(table)} rows")
