"""The error of the package, and what a response says about retries."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, List, Mapping, Optional

if TYPE_CHECKING:
    from ._contract import FieldError, Problem
    from ._results import ImportProgress

# 500 is not transient: the service returns it where a retry does not help.
TRANSIENT = frozenset([408, 425, 429, 502, 503, 504])
# Those of them after which nothing was written. A 503 can follow a write that took effect.
UNPROCESSED = frozenset([408, 425, 429])


class CallHistoryError(Exception):
    """The error of a call.

    Its text is one line without the API key and without content of a record; ``problem`` and ``errors`` can quote a value
    that was refused.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        status: Optional[int] = None,
        problem: Optional[Problem] = None,
        request_id: Optional[str] = None,
        retry_after: Optional[float] = None,
        attempts: int = 0,
        is_write: bool = False,
        is_connected: bool = True,
    ) -> None:
        super().__init__(message)
        #: ``invalid`` (refused by the client, nothing was sent), ``network`` (no response, or one that was cut off),
        #: ``timeout``, ``status`` (the response is an error), ``unreadable`` (a success whose body cannot be read).
        self.kind = kind
        #: HTTP status of the last response, if there was one.
        self.status = status
        #: The problem document of the service. The response of a proxy has none.
        self.problem = problem
        #: ID of the request in the log of the service.
        self.request_id = request_id
        #: Seconds that the service asks to wait (``Retry-After``).
        self.retry_after = retry_after
        #: Number of attempts; 0 if nothing was sent.
        self.attempts = attempts
        #: What an import had written before it failed.
        self.imported: Optional[ImportProgress] = None
        self._is_write = is_write
        # Whether the service can have processed the last attempt, and one before it.
        self._is_maybe_processed = is_connected and not (kind == "status" and status in UNPROCESSED)
        self._is_repeated = False

    @property
    def code(self) -> Optional[str]:
        """The stable code of the problem, such as ``call_not_found``."""
        return None if self.problem is None else self.problem.get("code")

    @property
    def errors(self) -> List[FieldError]:
        """The errors of single members and parameters."""
        return [] if self.problem is None else self.problem.get("errors", [])

    @property
    def is_not_found(self) -> bool:
        """404: the record does not exist in this workspace."""
        return self._has(404)

    @property
    def is_conflict(self) -> bool:
        """409: the state of the record does not allow the request, whatever its version."""
        return self._has(409)

    @property
    def is_precondition_failed(self) -> bool:
        """412: the record is not the version of ``if_match``, or exists. Read it again, and repeat the change."""
        return self._has(412)

    @property
    def is_rate_limited(self) -> bool:
        """429. The client has made its retries."""
        return self._has(429)

    @property
    def is_invalid_request(self) -> bool:
        """400, 413, 415, 422, or refused before it was sent. A retry does not help."""
        return self.kind == "invalid" or self._has(400, 413, 415, 422)

    @property
    def is_unauthorized(self) -> bool:
        """401: the API key is missing, invalid or expired."""
        return self._has(401)

    @property
    def is_forbidden(self) -> bool:
        """403: the API key lacks a scope, or belongs to another workspace."""
        return self._has(403)

    @property
    def is_cursor_expired(self) -> bool:
        """The cursor has expired, because the database was restored: start again without it."""
        return self._has(410) and self.code == "cursor_expired"

    @property
    def is_timeout(self) -> bool:
        """A timeout of the client, of the service or of a proxy."""
        return self.kind == "timeout" or self._has(408, 504)

    @property
    def is_retryable(self) -> bool:
        """The same call can succeed later."""
        if self.kind in ("network", "timeout"):
            return not self.was_accepted
        return self.kind == "status" and self.status in TRANSIENT

    @property
    def was_accepted(self) -> bool:
        """The service accepted the write, but its response could not be read. Read the record to see what is stored."""
        return self._is_write and self.kind != "status" and self.status is not None

    def _has(self, *statuses: int) -> bool:
        return self.kind == "status" and self.status in statuses


def invalid(message: str) -> CallHistoryError:
    """An error of the caller, before anything is sent."""
    return CallHistoryError("invalid", message)


def unreadable(
    status: int, request_id: Optional[str], attempts: int, is_write: bool, reason: str
) -> CallHistoryError:
    """The error of a successful response whose body cannot be read."""
    done = "accepted the write" if is_write else "responded"
    message = f"the service {done}, but its response cannot be read: {reason}"
    return CallHistoryError(
        "unreadable", message, status=status, request_id=request_id, attempts=attempts, is_write=is_write
    )


def status_error(status: int, headers: Mapping[str, str], problem: Optional[Problem]) -> CallHistoryError:
    """The error of a response that is no success."""
    message = f"the service responded {status} without a problem document"
    if 300 <= status < 400:
        message = f"the service responded {status}, and redirects are not followed: check the base URL"
    elif problem is not None:
        # The details of a problem can quote the record; codes and the names of top-level members do not.
        places = [problem.get("title", "")]
        for error in problem.get("errors", [])[:3]:
            pointer = "/".join(error.get("pointer", "").split("/")[:2])
            places.append(f"{error.get('parameter', pointer)} {error.get('code')}".strip())
        message = f"the service responded {status} {problem.get('code')}: {', '.join(places)}"
    request_id = headers.get("x-request-id")
    if request_id is not None:
        message += f" (request id {request_id})"
    retry_after = retry_after_of(headers.get("retry-after"), datetime.now(timezone.utc))
    message = re.sub(r"[\x00-\x1f]", " ", message)
    return CallHistoryError(
        "status", message, status=status, problem=problem, request_id=request_id, retry_after=retry_after
    )


def retry_after_of(text: Optional[str], now: datetime) -> Optional[float]:
    """The delay of ``Retry-After``: seconds, or a date."""
    text = "" if text is None else text.strip()
    if re.fullmatch(r"[0-9]+", text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    date = date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)
    return max(0.0, (date - now).total_seconds())
