"""Closes the logs of the runs of a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.closed_loop.drivers import OPEN


@pytest.fixture(autouse=True)
def closed_logs() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()
