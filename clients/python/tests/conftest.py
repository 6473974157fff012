"""Every test runs with both clients: the asynchronous one is driven from blocking code."""

from __future__ import annotations

from typing import Iterator

import pytest

from .blocking import Make, make_client
from .servers import RealServer


@pytest.fixture(scope="session")
def server() -> Iterator[RealServer]:
    with RealServer() as server:
        yield server


@pytest.fixture(params=["Client", "AsyncClient"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes clients of one of both classes, and closes them."""
    with make_client(request.param) as make:
        yield make
