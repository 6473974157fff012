"""The client of callhistory, a self-hosted service for the call records of voice-agent platforms."""

from ._client_async import AsyncClient
from ._client_blocking import Client
from ._contract import (
    CallChange,
    CallChangePage,
    CallCost,
    CallCreate,
    CallInput,
    CallMetrics,
    CallPatch,
    CallRecord,
    FieldError,
    ImportReport,
    MetricsGroup,
    OriginalInfo,
    Problem,
    SearchEvidence,
    SearchHit,
)
from ._errors import CallHistoryError
from ._results import CallPage, ImportProgress, Original, Outage, SearchPage, VersionedCall, WrittenCall
from ._settings import __version__

__all__ = [
    "AsyncClient",
    "CallChange",
    "CallChangePage",
    "CallCost",
    "CallCreate",
    "CallHistoryError",
    "CallInput",
    "CallMetrics",
    "CallPage",
    "CallPatch",
    "CallRecord",
    "Client",
    "FieldError",
    "ImportProgress",
    "ImportReport",
    "MetricsGroup",
    "Original",
    "OriginalInfo",
    "Outage",
    "Problem",
    "SearchEvidence",
    "SearchHit",
    "SearchPage",
    "VersionedCall",
    "WrittenCall",
    "__version__",
]
