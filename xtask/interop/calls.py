"""Real calls with the client that openapi-python-client makes of the contract. The first argument is the service."""

import sys

from callhistory_api import Client
from callhistory_api.api.calls import get_call, list_calls, replace_call
from callhistory_api.models import CallCost, CallInput, CallInputMetadata, CallRecord, MetadataFilter, Problem

WORKSPACE = "python"
client = Client(base_url=sys.argv[1])

for call_id, status in (("py-1", "completed"), ("py-2", "busy")):
    metadata = CallInputMetadata.from_dict({"ticket": call_id})
    input_ = CallInput(status=status, start_time=1680000000, cost=CallCost(customer_charge=0.1), metadata=metadata)
    written = replace_call.sync_detailed(call_id, client=client, body=input_, x_workspace_id=WORKSPACE)
    assert written.status_code in (200, 201), written

call = get_call.sync("py-1", client=client, x_workspace_id=WORKSPACE)
assert isinstance(call, CallRecord) and call.field_id == "py-1" and call.cost.customer_charge == 0.1, call
print(f"get_call: {call.field_id} {call.status}")

page = list_calls.sync(
    client=client,
    x_workspace_id=WORKSPACE,
    status="busy,failed",
    started_after="2023-01-01",
    # The generator sends the names of the members without that of their parameter.
    metadata=MetadataFilter.from_dict({"metadata[ticket]": "py-2"}),
    limit=50,
)
assert isinstance(page, list) and [listed.field_id for listed in page] == ["py-2"], page
print(f"list_calls: {page[0].field_id} {page[0].status}")

none = get_call.sync_detailed("none", client=client, x_workspace_id=WORKSPACE)
assert none.status_code == 404 and isinstance(none.parsed, Problem), none
assert none.parsed.code == "call_not_found", none.parsed
print(f"404: {none.parsed.code}, {none.parsed.detail}")
