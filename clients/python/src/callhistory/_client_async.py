"""The client. The blocking one is generated from this file."""

from __future__ import annotations

import asyncio
import uuid
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncGenerator,
    Callable,
    Dict,
    List,
    Literal,
    Mapping,
    Optional,
    cast,
)

import httpx

from ._contract import (
    CallChangePage,
    CallCreate,
    CallInput,
    CallMetrics,
    CallPatch,
    CallRecord,
    ImportReport,
    OriginalInfo,
    SearchHit,
)
from ._errors import CallHistoryError, invalid
from ._export import Seen
from ._import import Batch
from ._io_async import Records, iterate, sleep, until
from ._json import dumps, loads
from ._query import next_cursor, parameters_of, path_of
from ._results import CallPage, ImportProgress, Original, Outage, SearchPage, VersionedCall, WrittenCall
from ._settings import FOLLOW_MAX_BACKOFF, FOLLOW_MAX_RETRY_AFTER, Outgoing, Settings, backoff
from ._transport_async import AsyncTransport, Incoming, Opened

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._contract import (
        ExportCallsQuery,
        GetCallMetricsQuery,
        ImportCallsQuery,
        ListCallChangesQuery,
        ListCallsQuery,
        SearchCallsQuery,
    )

Handling = Literal["strict", "lenient"]


class AsyncClient:
    """A client for the call records of one workspace. Every method raises :class:`CallHistoryError`.

    ``timeout`` is the seconds that one attempt may take, and in exports the seconds between two parts. ``http_client``
    is a client of httpx with a proxy or certificates of your own; it is not closed with this one.
    """

    def __init__(
        self,
        base_url: str,
        *,
        workspace: str,
        api_key: Optional[str] = None,
        timeout: float = 30.0,
        max_retries: int = 3,
        headers: Optional[Mapping[str, str]] = None,
        http_client: Optional[httpx.AsyncClient] = None,
    ) -> None:
        settings = Settings(base_url, workspace, api_key, timeout, max_retries, headers or {})
        self._owned = httpx.AsyncClient() if http_client is None else None
        self._transport = AsyncTransport(self._owned or cast(httpx.AsyncClient, http_client), settings)

    def with_options(
        self,
        *,
        workspace: Optional[str] = None,
        timeout: Optional[float] = None,
        max_retries: Optional[int] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> AsyncClient:
        """The same client with other options, for one call or many. It shares the connections."""
        other = object.__new__(AsyncClient)
        settings = self._transport.settings.changed(workspace, timeout, max_retries, headers)
        other._owned = None
        other._transport = AsyncTransport(self._transport.http, settings)
        return other

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._owned is not None:
            await self._owned.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def get_call(self, call_id: str) -> VersionedCall:
        """Reads a record."""
        return versioned(await self._transport.send(Outgoing("GET", path_of(call_id))))

    async def get_call_if_changed(self, call_id: str, version: str) -> Optional[VersionedCall]:
        """Reads a record unless it still is this version."""
        request = Outgoing("GET", path_of(call_id), headers={"if-none-match": version}, accepts=frozenset([304]))
        incoming = await self._transport.send(request)
        return None if incoming.status == 304 else versioned(incoming)

    async def create_call(
        self, call: CallCreate, *, idempotency_key: Optional[str] = None, handling: Optional[Handling] = None
    ) -> WrittenCall:
        """Creates a record under an ID of the service. Retries create it once.

        ``idempotency_key`` is your key, such as the ID of a job: the same record under the same key is created once.
        """
        key = str(uuid.uuid4()) if idempotency_key is None else idempotency_key
        return await self._write("POST", "", call, {"idempotency-key": key, **conditions(None, None, handling)})

    async def replace_call(
        self,
        call_id: str,
        call: CallInput,
        *,
        if_match: Optional[str] = None,
        if_none_match: Optional[str] = None,
        handling: Optional[Handling] = None,
    ) -> WrittenCall:
        """Creates a record under this ID, or replaces it."""
        headers = conditions(if_match, if_none_match, handling)
        return await self._write("PUT", path_of(call_id), call, headers)

    async def update_call(
        self,
        call_id: str,
        patch: CallPatch,
        *,
        if_match: Optional[str] = None,
        if_none_match: Optional[str] = None,
        handling: Optional[Handling] = None,
    ) -> WrittenCall:
        """Changes members of a record; ``None`` removes one."""
        headers = conditions(if_match, if_none_match, handling)
        return await self._write("PATCH", path_of(call_id), patch, headers)

    async def upsert_call(
        self,
        call_id: str,
        patch: CallPatch,
        *,
        if_match: Optional[str] = None,
        if_none_match: Optional[str] = None,
        handling: Optional[Handling] = None,
    ) -> WrittenCall:
        """Changes members of a record, or creates it from the patch if it does not exist."""
        headers = conditions(if_match, if_none_match, handling)
        return await self._write("PATCH", path_of(call_id), patch, headers, {"upsert": True})

    async def delete_call(
        self, call_id: str, *, if_match: Optional[str] = None, if_none_match: Optional[str] = None
    ) -> None:
        """Deletes a record."""
        request = Outgoing("DELETE", path_of(call_id), headers=conditions(if_match, if_none_match, None))
        try:
            await self._transport.send(request)
        except CallHistoryError as error:
            # An attempt before, whose response was lost, has deleted it.
            if not (error.is_not_found and error._is_repeated):
                raise

    async def list_calls(self, **query: Unpack[ListCallsQuery]) -> CallPage:
        """Lists a page of records."""
        return await self._page(query)

    async def stream_calls(self, **query: Unpack[ListCallsQuery]) -> AsyncGenerator[CallRecord, None]:
        """All records of a list, page by page."""
        async for page in self.stream_pages(**query):
            for call in page.calls:
                yield call

    async def stream_pages(self, **query: Unpack[ListCallsQuery]) -> AsyncGenerator[CallPage, None]:
        """All pages of a list."""
        rest: Optional[Dict[str, Any]] = {"limit": 100, **query}
        while rest is not None:
            page = await self._page(rest)
            yield page
            rest = following(rest, page.next)

    async def search_calls(self, q: str, **query: Unpack[SearchCallsQuery]) -> SearchPage:
        """Searches for words: a page of hits, each with the texts that match."""
        return await self._search(q, query)

    async def stream_search_hits(
        self, q: str, **query: Unpack[SearchCallsQuery]
    ) -> AsyncGenerator[SearchHit, None]:
        """All hits of a search, newest first: an order by relevance has only one page."""
        rest: Optional[Dict[str, Any]] = {"limit": 100, "sort": "-startTime", **query}
        while rest is not None:
            page = await self._search(q, rest)
            for hit in page.hits:
                yield hit
            rest = following(rest, page.next)

    async def get_call_metrics(self, **query: Unpack[GetCallMetricsQuery]) -> CallMetrics:
        """Counts, sums and percentiles of the matching records."""
        request = Outgoing("GET", "/metrics", parameters_of(query))
        return cast(CallMetrics, (await self._transport.send(request)).document())

    async def list_originals(self, call_id: str) -> List[OriginalInfo]:
        """The documents of a record as they were sent, where they are not what is stored."""
        request = Outgoing("GET", path_of(call_id) + "/originals")
        return cast("List[OriginalInfo]", (await self._transport.send(request)).document())

    async def get_original(self, call_id: str, number: int) -> Original:
        """One of these documents, byte for byte."""
        path = f"{path_of(call_id)}/originals/{number}"
        opened = await self._transport.open(Outgoing("GET", path, headers={"accept": "*/*"}))
        body = bytearray()
        async for part in self._transport.parts(opened):
            body += part
        return Original(opened.response.headers.get("content-type", ""), bytes(body))

    async def import_calls(
        self,
        calls: Records[Mapping[str, Any]],
        *,
        handling: Optional[Handling] = None,
        on_progress: Optional[Callable[[ImportProgress], None]] = None,
        **query: Unpack[ImportCallsQuery],
    ) -> ImportReport:
        """Imports records from any iterable, in requests of up to 500 records or 4 MiB.

        A rejected record is in the report, with its position as ``line``, and does not stop the others. If a request
        fails, ``imported`` of the error says what was written before; the whole import can be repeated.
        """
        batch = Batch(query.get("atomic", False))

        async def flush() -> None:
            request = Outgoing(
                "POST",
                "/batch",
                parameters_of(query),
                conditions(None, None, handling),
                "application/x-ndjson",
                batch.body(),
                # A request of which nothing was taken has the status of an error, and a report like any other.
                frozenset([422]),
            )
            try:
                report = (await self._transport.send(request)).document()
            except CallHistoryError as error:
                error.imported = batch.written
                raise
            progress = batch.done(report)
            if on_progress is not None:
                on_progress(progress)

        async for call in iterate(calls):
            if batch.add(call):
                await flush()
        if batch:
            await flush()
        return batch.written.report

    async def export_calls(self, **query: Unpack[ExportCallsQuery]) -> AsyncGenerator[CallRecord, None]:
        """Exports all matching records, newest first, from one snapshot.

        In this order and without ``fields``, a broken connection is resumed after the last record.
        """
        seen, breaks = Seen(), 0
        rest: Dict[str, Any] = dict(query)
        while True:
            opened = await self._open_export("ndjson", rest)
            try:
                async for call in self._records(opened):
                    if seen.is_new(call):
                        breaks = 0
                        yield call
                return
            except CallHistoryError as error:
                resumed = seen.rest_of(query)
                is_last = breaks >= self._transport.settings.max_retries
                if is_last or resumed is None or not error.is_retryable:
                    raise
                rest = resumed
                breaks += 1
            await sleep(backoff(breaks))

    async def export_file(
        self, format: Literal["ndjson", "csv", "xlsx", "parquet"], **query: Unpack[ExportCallsQuery]
    ) -> AsyncGenerator[bytes, None]:
        """Exports as a file: its bytes, in parts of any size. A broken connection ends them with an error."""
        async for part in self._transport.parts(await self._open_export(format, query)):
            yield part

    async def list_call_changes(self, **query: Unpack[ListCallChangesQuery]) -> CallChangePage:
        """Lists the changes after a cursor: one page."""
        return await self._changes(query)

    async def follow_changes(
        self,
        *,
        cursor: Optional[str] = None,
        wait: int = 30,
        limit: Optional[int] = None,
        stop: Optional[asyncio.Event] = None,
        on_outage: Optional[Callable[[Outage], None]] = None,
    ) -> AsyncGenerator[CallChangePage, None]:
        """Follows the changes after a cursor until the event is set.

        Each page has at least one change; save its ``cursor`` once they are processed. An outage of any length is waited
        for. Any other error is raised, also ``is_cursor_expired``: then start again without a cursor. The service waits
        ``wait`` seconds for a change, at most 60; a blocking client notices the event after this wait.
        """
        # The service responds after the wait.
        once = self.with_options(timeout=self._transport.settings.timeout + wait, max_retries=0)
        failures = 0
        while stop is None or not stop.is_set():
            query = {"cursor": cursor, "wait": wait, "limit": limit}
            try:
                page = await until(stop, once._changes(query))
            except CallHistoryError as error:
                if not error.is_retryable:
                    raise
                failures += 1
                asked = min(error.retry_after or 0.0, FOLLOW_MAX_RETRY_AFTER)
                delay = asked + backoff(failures, FOLLOW_MAX_BACKOFF)
                if on_outage is not None:
                    on_outage(Outage(error, failures, delay))
                await sleep(delay, stop)
                continue
            if page is None:
                return
            failures = 0
            cursor = page["cursor"]
            # A wait that ended without a change is no page.
            if page["changes"]:
                yield page

    async def _page(self, query: Mapping[str, Any]) -> CallPage:
        incoming = await self._transport.send(Outgoing("GET", "", parameters_of(query)))
        total = incoming.headers.get("x-total-count")
        next = next_cursor(incoming.headers)
        return CallPage(incoming.document(), next, None if total is None else int(total))

    async def _search(self, q: str, query: Mapping[str, Any]) -> SearchPage:
        request = Outgoing("GET", "/search", parameters_of({"q": q, **query}))
        page = (await self._transport.send(request)).document()
        return SearchPage(page["hits"], page.get("next"), page.get("total"))

    async def _changes(self, query: Mapping[str, Any]) -> CallChangePage:
        request = Outgoing("GET", "/changes", parameters_of(query))
        return cast(CallChangePage, (await self._transport.send(request)).document())

    async def _open_export(self, format: str, query: Mapping[str, Any]) -> Opened:
        parameters = parameters_of({**query, "format": format})
        return await self._transport.open(Outgoing("GET", "/export", parameters, {"accept": "*/*"}))

    async def _records(self, opened: Opened) -> AsyncGenerator[CallRecord, None]:
        rest = b""
        async for part in self._transport.parts(opened):
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                try:
                    yield loads(line.decode())
                except ValueError as error:
                    raise opened.unreadable("a line is not valid JSON") from error
        if rest:
            raise opened.cut_off()

    async def _write(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any],
        headers: Mapping[str, Optional[str]],
        query: Optional[Mapping[str, Any]] = None,
    ) -> WrittenCall:
        media_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
        try:
            text = dumps(body)
        except (TypeError, ValueError) as error:
            raise invalid("the record is not JSON") from error
        request = Outgoing(method, path, parameters_of(query or {}), headers, media_type, text)
        incoming = await self._transport.send(request)
        return WrittenCall(**vars(versioned(incoming)), created=incoming.status == 201)


def versioned(incoming: Incoming) -> VersionedCall:
    try:
        warnings = loads(incoming.headers.get("x-callhistory-warnings", "[]"))
    except ValueError:
        warnings = []
    version = incoming.headers.get("etag", "")
    return VersionedCall(incoming.document(), version, warnings, incoming.text, incoming.request_id)


def conditions(
    if_match: Optional[str], if_none_match: Optional[str], handling: Optional[Handling]
) -> Dict[str, Optional[str]]:
    preference = None if handling is None else f"handling={handling}"
    return {"if-match": if_match, "if-none-match": if_none_match, "prefer": preference}


def following(query: Mapping[str, Any], next: Optional[str]) -> Optional[Dict[str, Any]]:
    """The query of the next page."""
    if next is None:
        return None
    if next == query.get("cursor"):
        raise invalid("the service returned the same cursor twice")
    return {**query, "cursor": next, "page": None}
