"""What the methods return, besides the types of the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Optional

if TYPE_CHECKING:
    from ._contract import CallRecord, ImportReport, SearchHit


@dataclass(frozen=True)
class VersionedCall:
    """A record with its version."""

    call: CallRecord
    #: The entity tag, for ``if_match``. It is opaque.
    version: str
    #: What the service changed or left out of a write: ``pointer`` and ``code`` of each.
    warnings: List[Dict[str, Any]]
    #: The body of the response.
    text: str
    #: ID of the request in the log of the service.
    request_id: Optional[str]


@dataclass(frozen=True)
class WrittenCall(VersionedCall):
    """A record after a write."""

    #: Whether the write created the record.
    created: bool


@dataclass(frozen=True)
class CallPage:
    """A page of a list. With ``fields``, the records have only these members."""

    calls: List[CallRecord]
    #: Cursor of the next page; ``None`` on the last one.
    next: Optional[str]
    #: Number of all matching records, if ``include_total`` asks for it.
    total: Optional[int]


@dataclass(frozen=True)
class SearchPage:
    """A page of a search."""

    hits: List[SearchHit]
    next: Optional[str]
    total: Optional[int]


@dataclass(frozen=True)
class Original:
    """A document as it was sent."""

    media_type: str
    body: bytes


@dataclass(frozen=True)
class ImportProgress:
    """What an import has written so far."""

    #: Number of records in the requests that succeeded, from the start of the iterable.
    records: int
    report: ImportReport


@dataclass(frozen=True)
class Outage:
    """A wait for a service that cannot be reached."""

    error: Exception
    #: Number of failures since the last response.
    failures: int
    #: Seconds until the next attempt.
    delay: float
