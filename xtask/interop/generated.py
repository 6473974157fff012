"""Real calls with the client that openapi-generator makes of the contract for Python. The argument is the service."""

import sys

import openapi_client
from openapi_client.api import CallsApi, ChangesApi, ImportAndExportApi

WORKSPACE = "generated-python"
client = openapi_client.ApiClient(openapi_client.Configuration(host=sys.argv[1]))
calls = CallsApi(client)

for call_id in ("gen-1", "gen-2"):
    record = openapi_client.CallInput(status="completed", start_time=1737062894.975)
    calls.replace_call(WORKSPACE, call_id, record)
listed = calls.list_calls(WORKSPACE, status="completed", limit=1)
assert [call.start_time for call in listed] == [1737062894.975], listed
with_headers = calls.list_calls_with_http_info(WORKSPACE, limit=1)
rest = calls.list_calls(WORKSPACE, cursor=with_headers.headers["x-next-cursor"])
assert {call.id for call in [*listed, *rest]} == {"gen-1", "gen-2"}, rest
exported = ImportAndExportApi(client).export_calls(WORKSPACE)
assert exported.count(b"\n") == 2, exported
changes = ChangesApi(client).list_call_changes(WORKSPACE)
assert [change.version for change in changes.changes] == [1, 2], changes
try:
    calls.get_call(WORKSPACE, "none")
    raise AssertionError("a record that does not exist was read")
except openapi_client.exceptions.NotFoundException as error:
    assert error.data.code == "call_not_found", error
print("Python: paged, exported, followed")
