"""What the clients do about faults, against a server whose responses are written here."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any, Dict, List

import httpx
import pytest

from callhistory import CallHistoryError, Client, Outage, __version__

from .blocking import Make
from .servers import Stub, answer, cut_off, dropped, nobody, problem

CALL = {"_id": "a", "workspaceId": "w", "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z"}


def test_a_rate_limit_is_waited_for_in_both_forms(make: Make) -> None:
    with Stub(problem(429, "rate_limited", retry_after="1"), answer(CALL)) as stub:
        started = time.monotonic()
        make(stub.base).get_call("a")
        assert len(stub.requests) == 2 and time.monotonic() - started >= 1
    date = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(seconds=2)
    with Stub(problem(429, "rate_limited", retry_after=format_datetime(date, usegmt=True)), answer(CALL)) as stub:
        make(stub.base).get_call("a")
        assert len(stub.requests) == 2 and datetime.now(timezone.utc) >= date
    with Stub(problem(429, "rate_limited", retry_after="3600")) as stub:
        with pytest.raises(CallHistoryError) as limited:
            make(stub.base).get_call("a")
        error = limited.value
        assert error.is_rate_limited and error.is_retryable and error.retry_after == 3600 and error.attempts == 1
        assert len(stub.requests) == 1 and error.request_id == "r1" and "secret" not in str(error)


def test_transient_errors_are_retried_and_others_are_not(make: Make) -> None:
    for status in (408, 502, 503, 504):
        with Stub(problem(status, "unavailable"), answer(CALL)) as stub:
            assert make(stub.base).get_call("a").call["_id"] == "a"
            assert len(stub.requests) == 2
    for status in (400, 401, 403, 409, 410, 500):
        with Stub(problem(status, "some")) as stub:
            with pytest.raises(CallHistoryError) as refused:
                make(stub.base).get_call("a")
            assert refused.value.status == status and len(stub.requests) == 1
    with Stub(answer("<html>", 503, content_type="text/html")) as stub:
        with pytest.raises(CallHistoryError) as page:
            make(stub.base, max_retries=1).get_call("a")
        assert page.value.attempts == 2 and page.value.problem is None and page.value.code is None
    with pytest.raises(CallHistoryError) as none:
        make(nobody(), max_retries=1).get_call("a")
    assert none.value.kind == "network" and none.value.attempts == 2 and none.value.is_retryable
    assert none.value.status is None and str(none.value).endswith(": ConnectError")


def test_a_retried_write_has_the_same_key_and_body(make: Make) -> None:
    with Stub(dropped, problem(503, "unavailable"), answer(CALL, 201)) as stub:
        make(stub.base).create_call({"agent": "A"})
        assert len(stub.requests) == 3
        assert len({request.headers["idempotency-key"] for request in stub.requests}) == 1
        assert {request.text for request in stub.requests} == {'{"agent":"A"}'}


def test_a_deletion_whose_response_was_lost_is_done(make: Make) -> None:
    with Stub(dropped, problem(404, "call_not_found")) as stub:
        make(stub.base).delete_call("a")
    with Stub(problem(404, "call_not_found")) as stub, pytest.raises(CallHistoryError) as absent:
        make(stub.base).delete_call("a")
    assert absent.value.is_not_found
    with Stub(problem(429, "rate_limited"), problem(404, "call_not_found")) as stub:
        with pytest.raises(CallHistoryError) as limited:
            make(stub.base).delete_call("a")
    assert limited.value.is_not_found and limited.value.attempts == 2


def test_a_deletion_that_was_not_sent_is_not_done() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if len(requests) == 1:
            raise httpx.ConnectError("refused")
        return httpx.Response(404)

    requests: List[httpx.Request] = []
    http = httpx.Client(transport=httpx.MockTransport(handle))
    with Client("http://localhost", workspace="w", http_client=http) as client:
        with pytest.raises(CallHistoryError) as absent:
            client.delete_call("a")
    assert absent.value.is_not_found and len(requests) == 2


def test_a_broken_body_is_read_again_and_a_write_is_not_repeated(make: Make) -> None:
    with Stub(cut_off('{"_id":'), answer(CALL)) as stub:
        assert make(stub.base).get_call("a").call["_id"] == "a"
        assert len(stub.requests) == 2
    with Stub(cut_off('{"_id":', x_request_id="r1")) as stub:
        with pytest.raises(CallHistoryError) as cut:
            make(stub.base).replace_call("a", {})
        assert cut.value.was_accepted and not cut.value.is_retryable
        assert cut.value.status == 200 and len(stub.requests) == 1
        assert cut.value.request_id == "r1" and cut.value.attempts == 1
    for body in ("<html>", "7"):
        with Stub(answer(body)) as stub, pytest.raises(CallHistoryError) as unreadable:
            make(stub.base).get_call("a")
        assert unreadable.value.kind == "unreadable" and not unreadable.value.is_retryable
        assert unreadable.value.attempts == 1


def test_a_response_that_does_not_arrive_is_a_timeout(make: Make) -> None:
    done = threading.Event()

    def silent(_: object) -> None:
        done.wait(60)

    def slow(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "1000000")
        handler.end_headers()
        while not done.wait(0.1):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    for handle in (silent, slow):
        with Stub(handle) as stub:
            with pytest.raises(CallHistoryError) as late:
                # Whether a request arrives before its timeout is not certain on a busy machine.
                make(stub.base, timeout=0.3, max_retries=1).get_call("a")
            assert late.value.is_timeout and late.value.kind == "timeout" and late.value.attempts == 2
    done.set()


def test_a_redirect_is_not_followed(make: Make) -> None:
    with Stub(answer("", 302, location="/elsewhere")) as stub:
        with pytest.raises(CallHistoryError, match="base URL") as redirect:
            make(stub.base, api_key="k").get_call("a")
        assert redirect.value.status == 302 and len(stub.requests) == 1


def test_pages_follow_link_and_the_header_for_the_next_cursor_before_it(make: Make) -> None:
    heads: List[Dict[str, str]] = [
        {"link": '<?limit=1&cursor=c-1>; rel="next"'},
        {"link": '<https://x/y?cursor=no>; rel="next"', "x_next_cursor": "c-1"},
    ]
    for headers in heads:
        with Stub(answer([CALL], 200, **headers), answer([{**CALL, "_id": "b"}])) as stub:
            assert [call["_id"] for call in make(stub.base).stream_calls(status="busy")] == ["a", "b"]
            assert stub.requests[1].path == "/v2/api/call-history?limit=100&status=busy&cursor=c-1"


def test_an_export_resumes_in_the_second_of_its_last_record(make: Make) -> None:
    def lines(*calls: Any) -> str:
        return "".join(f'{{"_id":"{name}","createdAt":"{CALL["createdAt"]}","startTime":{at}}}\n' for name, at in calls)

    b, c = ("b", "1700000001.5"), ("c", "1700000001.75")
    first = lines(("d", "1700000005.5"), c, b)
    whole = answer(lines(c, b, ("b2", "1700000001.5"), ("a", "1699999999")))
    queries: List[Any] = [
        ({}, "startedBefore=2023-11-14T22%3A13%3A22%2B00%3A00"),
        ({"started_before": "2024-01-01"}, "dateRange=%7B%22to%22%3A%222023-11-14T22%3A13%3A21.999999999Z%22%7D"),
    ]
    for query, parameter in queries:
        with Stub(cut_off(first + '{"_id":"half'), problem(503, "unavailable"), whole) as stub:
            ids = [call["_id"] for call in make(stub.base).export_calls(**query)]
            assert ids == ["d", "c", "b", "b2", "a"] and parameter in stub.requests[2].path
    broken = [
        (cut_off(first, x_request_id="r1"), "network"),
        (answer(first + '{"_id"', x_request_id="r1"), "network"),
        (answer("<html>\n", x_request_id="r1"), "unreadable"),
    ]
    for handler, kind in broken:
        with Stub(handler, whole) as stub, pytest.raises(CallHistoryError) as cut:
            list(make(stub.base).export_calls(sort="startTime"))
        error = cut.value
        assert (error.kind, error.status, error.request_id, error.attempts) == (kind, 200, "r1", 1)


def test_an_import_that_fails_says_what_was_written_before(make: Make) -> None:
    report = {"created": 500, "aborted": False, "errors": [], "warnings": []}
    with Stub(answer(report), problem(507, "storage_full")) as stub:
        with pytest.raises(CallHistoryError) as full:
            make(stub.base).import_calls({"_id": f"i{at}"} for at in range(600))
        imported = full.value.imported
        assert full.value.code == "storage_full" and imported is not None
        assert imported.records == 500 and imported.report["created"] == 500
        assert len(stub.requests[1].text.splitlines()) == 100
    with Stub(problem(422, "invalid_record")) as stub, pytest.raises(CallHistoryError) as refused:
        make(stub.base).import_calls([{}])
    assert refused.value.code == "invalid_record"


def test_the_feed_waits_for_a_limited_service_and_ends_at_other_errors(make: Make) -> None:
    change = {"type": "created", "_id": "a", "version": 1, "at": CALL["createdAt"]}
    responses = [
        answer({"changes": [], "cursor": "c0", "hasMore": False}),
        problem(429, "rate_limited", retry_after="1"),
        cut_off('{"changes":'),
        answer({"changes": [change], "cursor": "c1", "hasMore": False}),
        problem(410, "cursor_expired"),
    ]
    outages: List[Outage] = []
    with Stub(*responses) as stub:
        pages = make(stub.base).follow_changes(on_outage=outages.append)
        assert next(pages)["cursor"] == "c1"
        assert len(outages) == 2 and outages[0].delay >= 1.1
        assert all("cursor=c0" in request.path for request in stub.requests[1:4])
        with pytest.raises(CallHistoryError) as expired:
            next(pages)
        assert expired.value.is_cursor_expired and not expired.value.is_retryable


def test_the_feed_waits_some_minutes_for_a_service_that_asks_for_more(make: Make) -> None:
    stop = threading.Event()
    outages: List[Outage] = []

    def on_outage(outage: Outage) -> None:
        outages.append(outage)
        threading.Timer(0.1, stop.set).start()

    # More than a thread can wait.
    with Stub(problem(503, "unavailable", retry_after="99999999999")) as stub:
        assert list(make(stub.base).follow_changes(stop=stop, on_outage=on_outage)) == []
        assert len(outages) == 1 and 300 <= outages[0].delay < 400 and len(stub.requests) == 1


def test_a_request_names_the_version_of_the_package(make: Make) -> None:
    with Stub(answer(CALL)) as stub:
        make(stub.base).get_call("a")
        assert stub.requests[0].headers["user-agent"] == f"callhistory-python/{__version__}"
