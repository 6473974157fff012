# One function per operation: the Python samples of the contract. `cargo xtask interop` runs them.
import requests

CALLS = "http://127.0.0.1:8080/v2/api/call-history"
HEADERS = {"x-workspace-id": "abcdef1234567890"}


def list_calls():
    query = {"status": "completed,failed", "startedAfter": "2023-01-01T00:00:00Z", "limit": 50}
    response = requests.get(CALLS, params=query, headers=HEADERS, timeout=30)
    response.raise_for_status()
    # The `cursor` of the next page; None on the last one.
    next_cursor = response.headers.get("X-Next-Cursor")
    return response.json(), next_cursor


def search_calls():
    response = requests.get(f"{CALLS}/search", params={"q": "customer engagement"}, headers=HEADERS, timeout=30)
    response.raise_for_status()
    return [(hit["call"]["_id"], [text["snippet"] for text in hit["evidence"]]) for hit in response.json()["hits"]]


def create_call():
    call = {
        "agentId": "abcdef1234567890",
        "direction": "outbound",
        "fromPhoneNumber": "+10000000000",
        "toPhoneNumber": "+10000000001",
        "status": "ongoing",
        "startTime": 1680000000,
    }
    headers = {**HEADERS, "Idempotency-Key": "order-4711"}
    response = requests.post(CALLS, json=call, headers=headers, timeout=30)
    response.raise_for_status()
    return response.json()


def import_calls():
    import json

    calls = [{"_id": "call-1", "status": "completed"}, {"_id": "call-2", "status": "busy"}]
    lines = (json.dumps(call).encode() + b"\n" for call in calls)
    headers = {**HEADERS, "Content-Type": "application/x-ndjson"}
    response = requests.post(f"{CALLS}/batch", data=lines, headers=headers, timeout=600)
    response.raise_for_status()
    report = response.json()
    for error in report["errors"]:
        print(f"record {error['line']}: {error['detail']}")
    return report


def export_calls():
    import json

    query = {"agentId": "abcdef1234567890"}
    with requests.get(f"{CALLS}/export", params=query, headers=HEADERS, timeout=30, stream=True) as response:
        response.raise_for_status()
        return [json.loads(line) for line in response.iter_lines()]


def get_call_metrics():
    query = {"status": "completed,failed", "groupBy": "day", "timezone": "Europe/Berlin"}
    response = requests.get(f"{CALLS}/metrics", params=query, headers=HEADERS, timeout=30)
    response.raise_for_status()
    return response.json()


def list_call_changes():
    response = requests.get(f"{CALLS}/changes", params={"limit": 100}, headers=HEADERS, timeout=30)
    response.raise_for_status()
    page = response.json()
    # Store the cursor with what the changes led to, and continue there.
    return page["changes"], page["cursor"]


def get_call():
    response = requests.get(f"{CALLS}/1234567890abcdef", headers=HEADERS, timeout=30)
    if response.status_code == 404:
        return None
    response.raise_for_status()
    return response.json()


def replace_call():
    call = {
        "agentId": "abcdef1234567890",
        "status": "completed",
        "startTime": 1680000000,
        "endTime": 1680000300,
        "cost": {"customer_charge": 0.1},
        "summary": "Generic conversation summary about customer engagement.",
    }
    response = requests.put(f"{CALLS}/1234567890abcdef", json=call, headers=HEADERS, timeout=30)
    response.raise_for_status()
    return response.json()


def update_call():
    patch = {"metadata": {"ticket": "A-1009"}, "roomName": None}
    headers = {**HEADERS, "Content-Type": "application/merge-patch+json"}
    response = requests.patch(f"{CALLS}/1234567890abcdef", json=patch, headers=headers, timeout=30)
    response.raise_for_status()
    return response.json()


def list_originals():
    response = requests.get(f"{CALLS}/1234567890abcdef/originals", headers=HEADERS, timeout=30)
    response.raise_for_status()
    return response.json()


def get_original():
    response = requests.get(f"{CALLS}/1234567890abcdef/originals/1", headers=HEADERS, timeout=30)
    response.raise_for_status()
    return response.content


def delete_call():
    response = requests.delete(f"{CALLS}/1234567890abcdef", headers=HEADERS, timeout=30)
    response.raise_for_status()
