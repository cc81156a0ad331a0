"""When a test lacks its peer or its rights: a failure in the full run, otherwise a skip."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import pytest

from tests.support.netns import Unavailable

REQUIRED: Final = "ZT_REQUIRE_PEERS"


def missing(reason: str) -> NoReturn:
    """End the test; `make test` sets ZT_REQUIRE_PEERS, and CI sets CI."""
    if os.environ.get(REQUIRED, "0") not in ("", "0") or os.environ.get("CI"):
        pytest.fail(f"{reason} ({REQUIRED} or CI is set, so this is a failure)", pytrace=False)
    pytest.skip(reason)


@contextmanager
def required() -> Iterator[None]:
    """Turn `Unavailable` inside into `missing`."""
    lack = ""
    try:
        yield
    except Unavailable as error:
        lack = str(error)
    if lack:
        missing(lack)
