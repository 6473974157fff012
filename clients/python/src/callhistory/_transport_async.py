"""Sends requests with timeouts and retries, and reads responses."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, AsyncGenerator, Awaitable, Callable, Mapping, Optional, TypeVar, cast

import httpx

from ._errors import CallHistoryError, invalid, status_error, unreadable
from ._io_async import sleep
from ._json import loads
from ._settings import CONNECT_TIMEOUT, MAX_RETRY_AFTER, Outgoing, Settings, backoff

if TYPE_CHECKING:
    from ._contract import Problem

T = TypeVar("T")


@dataclass(frozen=True)
class Incoming:
    """A response whose body was read."""

    status: int
    headers: Mapping[str, str]
    text: str
    attempts: int
    is_write: bool

    @property
    def request_id(self) -> Optional[str]:
        return self.headers.get("x-request-id")

    def document(self) -> Any:
        """The JSON of the body: an object or an array."""
        try:
            document = loads(self.text)
        except ValueError as error:
            raise self._unreadable("it is not valid JSON") from error
        if not isinstance(document, (dict, list)):
            raise self._unreadable("it is not a document")
        return document

    def _unreadable(self, reason: str) -> CallHistoryError:
        return unreadable(self.status, self.request_id, self.attempts, self.is_write, reason)


@dataclass(frozen=True)
class Opened:
    """A response to a read, whose body is being read."""

    response: httpx.Response
    attempts: int

    def unreadable(self, reason: str) -> CallHistoryError:
        return unreadable(self.response.status_code, request_id_of(self.response), self.attempts, False, reason)

    def cut_off(self) -> CallHistoryError:
        """The error of an export whose last record is cut off."""
        message = "the export ends in the middle of a record"
        status, request_id = self.response.status_code, request_id_of(self.response)
        return CallHistoryError("network", message, status=status, request_id=request_id, attempts=self.attempts)


class AsyncTransport:
    """A client of HTTP, with the settings of one client of the service."""

    def __init__(self, http: httpx.AsyncClient, settings: Settings) -> None:
        self.http = http
        self.settings = settings

    async def send(self, outgoing: Outgoing) -> Incoming:
        """Sends a request with retries, and reads its response completely."""

        async def attempt(attempts: int) -> Incoming:
            # The timeout of httpx is that between two parts of a response.
            deadline = time.monotonic() + self.settings.timeout
            response = await self._start(outgoing)
            body = bytearray()
            async for part in self._parts(response, outgoing.is_write, attempts):
                body += part
                if time.monotonic() > deadline:
                    raise self._failure(httpx.ReadTimeout(""), response, outgoing.is_write)
            text = body.decode("utf-8", "replace")
            return Incoming(response.status_code, response.headers, text, attempts, outgoing.is_write)

        return await self._with_retries(attempt)

    async def open(self, outgoing: Outgoing) -> Opened:
        """Sends a request with retries, and returns the response with its body unread."""

        async def attempt(attempts: int) -> Opened:
            return Opened(await self._start(outgoing), attempts)

        return await self._with_retries(attempt)

    def parts(self, opened: Opened) -> AsyncGenerator[bytes, None]:
        """The parts of a body of a read; closes the response."""
        return self._parts(opened.response, False, opened.attempts)

    async def _with_retries(self, run: Callable[[int], Awaitable[T]]) -> T:
        attempts, is_repeated = 0, False
        while True:
            attempts += 1
            try:
                return await run(attempts)
            except CallHistoryError as error:
                error.attempts = attempts
                error._is_repeated = is_repeated
                is_repeated = is_repeated or error._is_maybe_processed
                asked = error.retry_after or 0.0
                is_last = attempts > self.settings.max_retries or asked > MAX_RETRY_AFTER
                if is_last or not error.is_retryable:
                    raise
            # Added, because the service gave every rejected client the same time.
            await sleep(asked + backoff(attempts))

    async def _start(self, outgoing: Outgoing) -> httpx.Response:
        """The response of one attempt, if it is a success."""
        limit = self.settings.timeout
        try:
            request = self.http.build_request(
                outgoing.method,
                outgoing.url(self.settings),
                headers=outgoing.all_headers(self.settings),
                content=None if outgoing.body is None else outgoing.body.encode(),
                timeout=httpx.Timeout(limit, connect=min(limit, CONNECT_TIMEOUT)),
            )
        except (httpx.InvalidURL, UnicodeError) as error:
            raise invalid("the request is not valid") from error
        try:
            # A redirect to another host would take the API key there.
            response = await self.http.send(request, stream=True, follow_redirects=False)
        except httpx.HTTPError as error:
            raise self._failure(error, None, outgoing.is_write) from error
        if response.is_success or response.status_code in outgoing.accepts and not is_problem(response):
            return response
        raise status_error(response.status_code, response.headers, await self._problem(response))

    async def _parts(
        self, response: httpx.Response, is_write: bool, attempts: int
    ) -> AsyncGenerator[bytes, None]:
        try:
            async for part in response.aiter_bytes():
                yield part
        except httpx.HTTPError as error:
            raise self._failure(error, response, is_write, attempts) from error
        finally:
            await response.aclose()

    async def _problem(self, response: httpx.Response) -> Optional[Problem]:
        """The problem of an error response. An error page of a proxy is not read."""
        try:
            if not is_problem(response):
                return None
            document = json.loads(await response.aread())
            return cast("Problem", document) if isinstance(document, dict) else None
        except (httpx.HTTPError, ValueError):
            return None
        finally:
            await response.aclose()

    @staticmethod
    def _failure(error: Exception, response: Optional[httpx.Response], is_write: bool, attempts: int = 0) -> CallHistoryError:
        kind, message = "network", f"the connection to the service failed: {type(error).__name__}"
        if isinstance(error, httpx.TimeoutException):
            kind, message = "timeout", "the service did not respond in time"
        return CallHistoryError(
            kind,
            message,
            status=None if response is None else response.status_code,
            request_id=None if response is None else request_id_of(response),
            attempts=attempts,
            is_write=is_write,
            is_connected=not isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)),
        )


def request_id_of(response: httpx.Response) -> Optional[str]:
    request_id: Optional[str] = response.headers.get("x-request-id")
    return request_id


def is_problem(response: httpx.Response) -> bool:
    media_type: str = response.headers.get("content-type", "")
    return media_type.split(";")[0].strip().lower() == "application/problem+json"
