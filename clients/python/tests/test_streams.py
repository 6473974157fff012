"""Imports, exports and the change feed, against the server."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, AsyncIterator, Dict, Iterator, List, Optional

import pytest

from callhistory import AsyncClient, CallHistoryError, Outage

from .blocking import Make
from .servers import RealServer

COUNT = 1_234


def generated() -> Iterator[Dict[str, Any]]:
    for at in range(COUNT):
        yield {"_id": f"c{at}", "startTime": 1_700_000_000 + at / 4, "status": "completed", "summary": "Ä" * 10}


def test_an_import_sends_bounded_requests_and_adds_their_reports(server: RealServer, make: Make) -> None:
    client = make(server.base)
    progress: List[int] = []
    report = client.import_calls(generated(), on_progress=lambda written: progress.append(written.records))
    assert report["created"] == COUNT and progress == [500, 1000, COUNT]
    again = client.import_calls([{"_id": "c0", "status": "failed"}], mode="create")
    assert again["rejected"] == 1 and again["created"] == 0 and again["errors"][0]["line"] == 1
    odd: List[Dict[str, Any]] = [{"_id": f"o{at}"} for at in range(501)]
    odd[500], odd[3] = {"_id": 7}, {"_id": ""}
    mixed = client.with_options(workspace="mixed").import_calls(odd, handling="strict")
    assert [error["line"] for error in mixed["errors"]] == [4, 501]
    whole = client.with_options(workspace="atomic").import_calls(odd, handling="strict", atomic=True)
    assert whole["aborted"] and whole["created"] == 0


def test_an_asynchronous_iterable_is_imported(server: RealServer) -> None:
    async def calls() -> AsyncIterator[Dict[str, Any]]:
        for call in generated():
            yield call

    async def run() -> int:
        async with AsyncClient(server.base, workspace="asynchronous") as client:
            return (await client.import_calls(calls()))["created"]

    assert asyncio.run(run()) == COUNT


def test_an_export_is_a_stream_of_records_or_a_file(server: RealServer, make: Make) -> None:
    client = make(server.base)
    client.import_calls(generated())
    ids = [call["_id"] for call in client.export_calls()]
    assert ids == [f"c{at}" for at in reversed(range(COUNT))]
    few: List[Any] = list(client.export_calls(fields=["_id"], sort="startTime", started_before=1_700_000_001))
    assert few == [{"_id": f"c{at}"} for at in range(4)]
    first = client.export_calls()
    assert next(first)["_id"] == f"c{COUNT - 1}"
    first.close()
    starts: Dict[Any, bytes] = {"csv": b"_id,", "xlsx": b"PK", "parquet": b"PAR1"}
    for format, start in starts.items():
        file = b"".join(client.export_file(format, started_before=1_700_000_010, timezone="Europe/Berlin"))
        assert file.startswith(start), file[:100]
        assert format != "csv" or len(file.split(b"\r\n")) == 42


def test_the_feed_is_followed_over_a_restart_from_a_saved_cursor(make: Make) -> None:
    with RealServer() as own:
        client, writer = make(own.base), make(own.base)
        writer.replace_call("f1", {"status": "ringing"})
        outages: List[Outage] = []
        seen: List[str] = []
        saved: Optional[str] = None

        def on_outage(outage: Outage) -> None:
            outages.append(outage)
            if len(outages) == 3:
                own.start()

        for page in client.follow_changes(cursor=saved, wait=2, on_outage=on_outage):
            seen.extend(f"{change['type']} {change['_id']}" for change in page["changes"])
            saved = page["cursor"]
            if len(seen) == 1:
                writer.replace_call("f2", {})
                own.stop()
            elif len(seen) == 2:
                writer.delete_call("f1")
            else:
                break
        assert seen == ["created f1", "created f2", "deleted f1"]
        assert len(outages) == 3 and all("connection" in str(outage.error) for outage in outages)
        assert outages[2].delay >= 0.4 and outages[2].failures == 3

        # The next run starts at the saved cursor, and ends when it is asked to.
        writer.replace_call("f3", {})
        stop = threading.Event()
        following = client.follow_changes(cursor=saved, wait=1, stop=stop)
        assert [change["_id"] for change in next(following)["changes"]] == ["f3"]
        threading.Timer(0.2, stop.set).start()
        assert list(following) == []
        with pytest.raises(CallHistoryError) as wrong:
            next(client.follow_changes(cursor="nonsense"))
        assert wrong.value.status == 400


def test_a_wait_is_interrupted(server: RealServer) -> None:
    async def run() -> float:
        stop = asyncio.Event()
        async with AsyncClient(server.base, workspace="empty") as client:
            asyncio.get_running_loop().call_later(0.1, stop.set)
            started = time.monotonic()
            async for _ in client.follow_changes(wait=60, stop=stop):
                pass
            return time.monotonic() - started

    assert asyncio.run(run()) < 30
