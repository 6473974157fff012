"""The operations, against the server."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import httpx
import pytest

from callhistory import CallHistoryError, CallInput, Client
from callhistory._json import dumps

from .blocking import Make
from .servers import RealServer


def test_a_record_is_written_read_changed_and_deleted(server: RealServer, make: Make) -> None:
    client = make(server.base)
    written = client.replace_call("a-1+ü", {"status": "completed", "cost": {"customer_charge": Decimal("0.10")}})
    assert written.created and written.call["_id"] == "a-1+ü"
    read = client.get_call("a-1+ü")
    assert read.version == written.version and len(read.request_id or "") == 32
    charge = read.call["cost"]["customer_charge"]
    assert isinstance(charge, Decimal) and str(charge) == "0.10"
    updated = client.update_call("a-1+ü", {"summary": "Asked.", "status": None}, if_match=read.version)
    assert not updated.created and updated.call["summary"] == "Asked." and "status" not in updated.call
    client.delete_call("a-1+ü")
    with pytest.raises(CallHistoryError) as gone:
        client.get_call("a-1+ü")
    error = gone.value
    assert error.is_not_found and error.status == 404 and error.code == "call_not_found" and not error.is_retryable
    assert len(error.request_id or "") == 32 and error.attempts == 1


def test_digits_are_kept(server: RealServer, make: Make) -> None:
    client = make(server.base)
    digits = Decimal("-123456789.123456789")
    call: CallInput = {"startTime": Decimal("1737062894.975123456"), "cost": {"customer_charge": digits}}
    call["metadata"] = {"big": 12345678901234567890123, "small": Decimal("0.100"), "float": 0.1}
    client.replace_call("digits", call)
    read = client.get_call("digits")
    assert read.call["cost"]["customer_charge"] == digits and '"small":0.100' in read.text
    assert read.call["startTime"] == Decimal("1737062894.975123456")
    # What was read is written back without a change.
    again: Any = {name: value for name, value in read.call.items() if name not in ("createdAt", "updatedAt")}
    assert client.replace_call("digits", again).version == read.version
    for wrong in (Decimal("NaN"), float("inf"), object(), {1: 2}):
        with pytest.raises(CallHistoryError) as invalid:
            client.replace_call("digits", {"metadata": {"x": wrong}})
        assert invalid.value.kind == "invalid" and invalid.value.is_invalid_request
    assert dumps({"a": [True, None, "ü\n"], "b": Decimal("1E+2")}) == '{"a":[true,null,"ü\\n"],"b":1E+2}'


def test_versions_protect_a_write_and_save_a_read(server: RealServer, make: Make) -> None:
    client = make(server.base)
    version = client.replace_call("v1", {"status": "ongoing"}).version
    assert client.get_call_if_changed("v1", version) is None
    client.update_call("v1", {"summary": "Changed."})
    changed = client.get_call_if_changed("v1", version)
    assert changed is not None and changed.call["summary"] == "Changed."
    with pytest.raises(CallHistoryError) as stale:
        client.update_call("v1", {"summary": "Lost."}, if_match=version)
    assert stale.value.is_precondition_failed and not stale.value.is_conflict
    with pytest.raises(CallHistoryError) as exists:
        client.replace_call("v1", {}, if_none_match="*")
    assert exists.value.is_precondition_failed
    client.replace_call("v2", {"status": "completed"})
    with pytest.raises(CallHistoryError) as late:
        client.update_call("v2", {"status": "ringing"})
    assert late.value.is_conflict and not late.value.is_precondition_failed and late.value.code == "final_status"
    assert client.upsert_call("v3", {"status": "busy"}).created
    with pytest.raises(CallHistoryError) as absent:
        client.update_call("v4", {"status": "busy"})
    assert absent.value.is_not_found


def test_a_record_is_created_once_under_a_key(server: RealServer, make: Make) -> None:
    client = make(server.base)
    first, second = (client.create_call({"agent": "A"}, idempotency_key="job-7") for _ in range(2))
    assert first.call["_id"] == second.call["_id"]
    assert client.create_call({"agent": "A"}).call["_id"] != first.call["_id"]
    with pytest.raises(CallHistoryError) as reused:
        client.create_call({"agent": "B"}, idempotency_key="job-7")
    assert reused.value.is_invalid_request and reused.value.code == "idempotency_key_reused"


def test_a_refused_record_names_its_members(server: RealServer, make: Make) -> None:
    client = make(server.base)
    wrong: Any = {"startTime": 1680000000123, "metadata": ["red"]}
    with pytest.raises(CallHistoryError) as refused:
        client.replace_call("bad", wrong)
    errors = sorted((error["pointer"], error["code"]) for error in refused.value.errors)
    assert errors == [("/metadata", "wrong_type"), ("/startTime", "wrong_unit")]
    assert "red" not in str(refused.value) and "/startTime wrong_unit" in str(refused.value)
    lenient = client.replace_call("bad", wrong, handling="lenient")
    assert sorted(warning["code"] for warning in lenient.warnings) == ["left_out", "unit_converted"]
    original = client.get_original("bad", client.list_originals("bad")[0]["number"])
    assert original.body.decode() == dumps(wrong) and original.media_type == "application/json"


def test_a_list_and_a_search_lead_through_all_pages(server: RealServer, make: Make) -> None:
    client = make(server.base)
    calls = [
        {
            "_id": f"p{at}",
            "startTime": 1_700_000_000 + at,
            "status": "busy" if at % 2 else "no, really!",
            "agent": "refund",
            "metadata": {"ticket": f"A-{at % 3}", "ä b": {"c": "x+y"}},
        }
        for at in range(25)
    ]
    client.import_calls(calls)
    expected = [call["_id"] for call in reversed(calls)]
    assert [call["_id"] for call in client.stream_calls(limit=4)] == expected
    assert [len(page.calls) for page in client.stream_pages(limit=10)] == [10, 10, 5]
    options: Any = {"limit": 4, "status": ["busy"], "sort": "startTime"}
    page = client.list_calls(**options, include_total=True, fields=["_id", "status"])
    assert page.total == 12 and page.next is not None and dict(page.calls[0]) == {"_id": "p1", "status": "busy"}
    assert client.list_calls(**options, cursor=page.next).calls[0]["_id"] == "p9"
    hits = list(client.stream_search_hits("refund", limit=4))
    assert [hit["call"]["_id"] for hit in hits] == expected and hits[0]["evidence"][0]["member"] == "/agent"
    assert client.search_calls("refund", include_total=True).total == 25

    def count(**query: Any) -> int:
        return client.get_call_metrics(**query)["totalCalls"]

    assert count(metadata={"ticket": "A-1"}) == 8
    assert count(metadata={"ticket": "A-1", "ä b.c": "x+y"}) == 8
    assert count(status=["no, really!"]) == 13 and count(status="!busy") == 13
    assert count(call_ids=["p1", "p2"]) == 2
    assert count(started_after=datetime.fromtimestamp(1_700_000_020, timezone.utc)) == 5
    assert count(started_before=1_700_000_020, date_range={"from": "2023-11-14T22:13:30Z"}) == 10
    assert len(client.get_call_metrics(group_by=["status", "metadata.ticket"])["groups"]) == 6
    with pytest.raises(CallHistoryError) as typo:
        count(statu="busy")
    assert typo.value.is_invalid_request and typo.value.errors[0]["parameter"] == "statu"
    wrong: Any
    for wrong in ({"status": []}, {"started_after": datetime(2026, 1, 1)}):
        with pytest.raises(CallHistoryError, match="has no"):
            count(**wrong)


def test_options_are_kept_apart(server: RealServer, make: Make) -> None:
    client = make(server.base)
    other = client.with_options(workspace="other", headers={"x-request-id": "mine"})
    other.replace_call("o1", {})
    with pytest.raises(CallHistoryError) as absent:
        client.get_call("o1")
    assert absent.value.is_not_found
    assert other.get_call("o1").request_id == "mine"
    assert other.with_options(headers={"x-request-id": "yours"}).get_call("o1").request_id == "yours"
    for call_id in ("", ".", "..", "metrics"):
        with pytest.raises(CallHistoryError, match="is not the ID"):
            client.get_call(call_id)
    for base, workspace in (("ftp://localhost", "w"), ("http://u:p@localhost", "w"), ("http://localhost", "no spaces")):
        with pytest.raises(CallHistoryError) as invalid:
            make(base, workspace=workspace)
        assert invalid.value.kind == "invalid"


def test_a_client_of_httpx_is_used_and_left_open(server: RealServer) -> None:
    with httpx.Client() as http:
        with Client(server.base, workspace="w", http_client=http) as client:
            client.replace_call("h1", {})
        assert not http.is_closed
    with pytest.raises(RuntimeError):
        client.get_call("h1")


def test_a_key_is_sent_and_its_lack_is_named(make: Make) -> None:
    with RealServer("--require-keys") as locked:
        with pytest.raises(CallHistoryError) as missing:
            make(locked.base).get_call("a")
        assert missing.value.is_unauthorized and missing.value.code == "key_missing"
        with pytest.raises(CallHistoryError) as wrong:
            make(locked.base, api_key="secret").get_call("a")
        assert wrong.value.code == "key_invalid" and "secret" not in str(wrong.value)
