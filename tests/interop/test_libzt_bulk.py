"""Long streams with the official library, both directions of each at once.

ZT_LIBZT_MEGABYTES=200 sends so much each way in place of what is quick.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.test_libzt import MEGABYTE, Pair, call_from_zt, joined, send_to_zt
from tests.support.peers import required
from tests.support.site import site

SIZE = int(float(os.environ.get("ZT_LIBZT_MEGABYTES", "5")) * MEGABYTE)

pytestmark = pytest.mark.timeout(180 + SIZE / MEGABYTE)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with required(), site(tmp_path_factory.mktemp("site")) as world:
        yield from joined(world, "1.8.4")


def test_the_library_opens_a_long_stream(pair: Pair, tmp_path: Path) -> None:
    send_to_zt(pair, 7201, SIZE, tmp_path)


def test_we_open_a_long_stream(pair: Pair) -> None:
    call_from_zt(pair, 7202, SIZE)
