"""The settings of a client, and its requests."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field, replace
from typing import Dict, FrozenSet, List, Mapping, Optional, Tuple
from urllib.parse import urlencode, urlsplit

from ._errors import invalid

# That of the package, too: see pyproject.toml.
__version__ = "0.1.0"
BASE_PATH = "/v2/api/call-history"
USER_AGENT = f"callhistory-python/{__version__}"
MIN_BACKOFF = 0.1
MAX_BACKOFF = 5.0
# A longer Retry-After is returned as an error instead of waited for.
MAX_RETRY_AFTER = 60.0
# In following, a longer one is not waited for to its end.
FOLLOW_MAX_RETRY_AFTER = 300.0
FOLLOW_MAX_BACKOFF = 15.0
CONNECT_TIMEOUT = 5.0


@dataclass(frozen=True)
class Settings:
    base: str
    workspace: str
    api_key: Optional[str]
    timeout: float
    max_retries: int
    headers: Mapping[str, str]

    def __post_init__(self) -> None:
        parts = urlsplit(self.base)
        if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc or parts.query or parts.fragment:
            raise invalid("the base URL must be http or https, without user, query and fragment")
        if not re.fullmatch(r"[A-Za-z0-9_.~:@+=-]{1,128}", self.workspace):
            raise invalid("the workspace is not valid")
        if not self.timeout > 0 or self.max_retries < 0:
            raise invalid("the timeout or the number of retries is not valid")

    def changed(
        self,
        workspace: Optional[str],
        timeout: Optional[float],
        max_retries: Optional[int],
        headers: Optional[Mapping[str, str]],
    ) -> Settings:
        return replace(
            self,
            workspace=self.workspace if workspace is None else workspace,
            timeout=self.timeout if timeout is None else timeout,
            max_retries=self.max_retries if max_retries is None else max_retries,
            headers={**self.headers, **(headers or {})},
        )


@dataclass(frozen=True)
class Outgoing:
    """A request; its path is below that of all records."""

    method: str
    path: str
    query: List[Tuple[str, str]] = field(default_factory=list)
    headers: Mapping[str, Optional[str]] = field(default_factory=dict)
    media_type: Optional[str] = None
    body: Optional[str] = None
    #: A status besides 2xx that is no error.
    accepts: FrozenSet[int] = frozenset()

    @property
    def is_write(self) -> bool:
        return self.method != "GET"

    def url(self, settings: Settings) -> str:
        query = f"?{urlencode(self.query)}" if self.query else ""
        return settings.base.rstrip("/") + BASE_PATH + self.path + query

    def all_headers(self, settings: Settings) -> Dict[str, str]:
        headers = {"accept": "application/json", "user-agent": USER_AGENT, **settings.headers}
        headers["x-workspace-id"] = settings.workspace
        if settings.api_key is not None:
            headers["x-api-key"] = settings.api_key
        if self.media_type is not None:
            headers["content-type"] = self.media_type
        headers.update({name: value for name, value in self.headers.items() if value is not None})
        return headers


def backoff(attempt: int, longest: float = MAX_BACKOFF) -> float:
    """The delay before retry number ``attempt``, from 1 on. Jitter spreads clients that failed together."""
    delay: float = min(longest, MIN_BACKOFF * 2 ** min(attempt - 1, 20))
    return delay + random.random() * delay
