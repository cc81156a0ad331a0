"""Our TCP against the kernel's over links that lose, delay, reorder, spoil and change.

ZT_KERNEL_MEGABYTES=200 sends so much each way in place of what is quick.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.link_emulator import LinkEmulator, Way, direct_link
from tests.support.netns import Lan, lan
from tests.support.peers import required
from tests.support.tap_host import LIMIT_S, SLOWEST, start

MEGABYTES = float(os.environ.get("ZT_KERNEL_MEGABYTES", "0"))
SIZE = int(MEGABYTES * 1e6) or 2_000_000
LARGE = max(SIZE, 20_000_000)
SECONDS = 2 * LIMIT_S + LARGE / SLOWEST

pytestmark = pytest.mark.timeout(SECONDS + 60.0)

ROOT = Path(__file__).parents[2]
PEER = ROOT / "tests" / "support" / "kernel_peer.py"
PORT = "7100"
FOUR, SIX = "10.77.1.2", "fd77:1::2"
"""Our addresses on the link."""

WAYS = {
    "loss-1": Way(loss=0.01, delay_ms=2.0),
    "loss-5": Way(loss=0.05, delay_ms=1.0),
    "loss-10": Way(loss=0.1, delay_ms=0.5),
    "reorder": Way(reorder=0.1, reorder_ms=4.0, delay_ms=2.0),
    "jitter": Way(delay_ms=5.0, jitter_ms=5.0),
    "duplicate": Way(duplicate=0.1),
    "corrupt": Way(corrupt=0.02),
    "delay": Way(delay_ms=40.0),
    "rate": Way(rate_mbit=40.0, queue_bytes=30_000, delay_ms=5.0),
    "everything": Way(
        loss=0.01, corrupt=0.005, duplicate=0.02, delay_ms=5.0, jitter_ms=3.0, rate_mbit=80.0
    ),
}


@dataclass(slots=True)
class Pair:
    """The kernel's TCP on one machine and ours on another, with a link between them."""

    network: Lan
    link: LinkEmulator
    folder: Path

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start our side and wait until it is there."""
        return start(self.network.machines[1], *arguments, "--wan", "1")

    def kernel(self, *arguments: str) -> subprocess.Popen[bytes]:
        return self.network.machines[0].popen([sys.executable, str(PEER), *arguments])

    def wait_for(self, count: int) -> None:
        """Wait until we have sent so many bytes more."""
        start = self.link.counts()["back"].get("bytes", 0)
        while self.link.counts()["back"].get("bytes", 0) < start + count:
            time.sleep(0.01)

    def kernel_connects(
        self,
        ours: int,
        kernels: int,
        *,
        host: str = FOUR,
        of_us: tuple[str, ...] = (),
        of_it: tuple[str, ...] = (),
    ) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
        us = self.start("serve", PORT, str(ours), *of_us)
        return us, self.kernel("connect", host, PORT, str(kernels), *of_it)

    def we_connect(
        self, ours: int, kernels: int, *, of_us: tuple[str, ...] = (), of_it: tuple[str, ...] = ()
    ) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
        ready = str(self.folder / "ready")
        peer = self.kernel("serve", PORT, str(kernels), ready, *of_it)
        return self.start("connect", PORT, str(ours), "--ready", ready, *of_us), peer


@pytest.fixture(scope="module")
def network() -> Iterator[Lan]:
    with required(), lan() as made:
        made.machine("kernel")
        made.machine("ours")
        yield made


@pytest.fixture
def pair(network: Lan, tmp_path: Path) -> Iterator[Pair]:
    left, right = network.machines
    with required(), direct_link(network, left, right, 1, Way(), bare=True) as link:
        yield Pair(network, link, tmp_path)


def result_of(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err.decode()
    result: dict[str, Any] = json.loads(out)
    return result


def check(
    ends: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]], ours: int, kernels: int
) -> None:
    """Both have what the other sent."""
    us, it = result_of(ends[0]), result_of(ends[1])
    assert (us.get("received"), it["received"]) == (kernels, ours), us
    assert us["received_sha256"] == it["sent_sha256"]
    assert it["received_sha256"] == us["sent_sha256"]


@pytest.mark.parametrize("weather", WAYS)
def test_both_directions_at_once(pair: Pair, weather: str) -> None:
    pair.link.change(WAYS[weather], WAYS[weather])
    check(pair.kernel_connects(LARGE, LARGE), LARGE, LARGE)
    counts = pair.link.counts()
    assert counts["there"]["overrun"] == counts["back"]["overrun"] == 0


def test_both_directions_of_ipv6(pair: Pair) -> None:
    pair.link.change(WAYS["everything"], WAYS["everything"])
    check(pair.kernel_connects(SIZE, SIZE, host=SIX), SIZE, SIZE)


@pytest.mark.parametrize("direction", ["there", "back"])
def test_one_direction_of_a_link_is_bad(pair: Pair, direction: str) -> None:
    bad, good = Way(loss=0.05, delay_ms=3.0, jitter_ms=2.0), Way(delay_ms=3.0)
    pair.link.change(*((bad, good) if direction == "there" else (good, bad)))
    check(pair.we_connect(SIZE, SIZE), SIZE, SIZE)


@pytest.mark.parametrize(
    ("told", "host"), [(True, FOUR), (True, SIX), (False, FOUR)], ids=["told", "told-6", "silent"]
)
def test_the_mtu_changes_in_flight(pair: Pair, told: bool, host: str) -> None:
    """Between the two; where nobody is told, only our side's segments do not come through."""
    limited = Way(rate_mbit=120.0, queue_bytes=200_000, delay_ms=2.0)
    pair.link.change(limited, limited)
    ends = pair.kernel_connects(LARGE, LARGE, host=host)
    for mtu in (1280, 1400, 900 if host == FOUR else 1300, 0):
        pair.wait_for(LARGE // 6)
        small = replace(limited, mtu=mtu, silent=not told)
        pair.link.change(limited if not told else small, small)
    check(ends, LARGE, LARGE)
    assert pair.link.counts()["back"]["too_big"] > 0


def test_the_mtu_of_the_kernels_interface_changes_in_flight(pair: Pair) -> None:
    """What is too long for it vanishes there without a word, and its own segments get shorter."""
    limited = Way(rate_mbit=120.0, queue_bytes=200_000, delay_ms=2.0)
    pair.link.change(limited, limited)
    ends = pair.kernel_connects(LARGE, LARGE)
    for mtu in ("1280", "1500", "1400"):
        pair.wait_for(LARGE // 5)
        name = pair.network.machines[0].name
        subprocess.run(["ip", "-n", name, "link", "set", "wan1", "mtu", mtu], check=True)
    check(ends, LARGE, LARGE)


def test_the_link_is_dead_for_a_while(pair: Pair) -> None:
    slow = Way(rate_mbit=40.0, delay_ms=1.0)
    pair.link.change(slow, slow)
    ends = pair.we_connect(SIZE, SIZE)
    while pair.link.counts()["there"].get("bytes", 0) < SIZE / 4:
        time.sleep(0.01)
    pair.link.change(Way(down=True), Way(down=True))
    while pair.link.counts()["there"].get("lost", 0) < 3:
        time.sleep(0.02)
    pair.link.change(slow, slow)
    check(ends, SIZE, SIZE)


@pytest.mark.parametrize(("ours", "kernels"), [(0, SIZE), (SIZE, 0), (0, 0), (1, SIZE)])
def test_half_close(pair: Pair, ours: int, kernels: int) -> None:
    """Who has nothing to send ends its direction at once, and gets all of the other."""
    pair.link.change(Way(loss=0.01, delay_ms=1.0), Way(loss=0.01, delay_ms=1.0))
    check(pair.we_connect(ours, kernels), ours, kernels)


@pytest.mark.parametrize("side", ["ours", "kernel"])
def test_zero_window(pair: Pair, side: str) -> None:
    """The reader stops for a second: longer than the sender needs to fill all buffers."""
    stops = ("--pause-after", "100000")
    small = ("--buffer", "20000")
    ends = (
        pair.kernel_connects(SIZE, SIZE, of_us=stops)
        if side == "ours"
        else pair.kernel_connects(SIZE, SIZE, of_it=(*stops, *small))
    )
    check(ends, SIZE, SIZE)


def test_a_closed_window_does_not_stop_the_other_direction(pair: Pair) -> None:
    """The kernel reads nothing until we have all that it sends, which takes until after a probe."""
    slow = Way(rate_mbit=10.0, queue_bytes=100_000, delay_ms=1.0)
    pair.link.change(slow, slow)
    late = ("--read-late", "--buffer", "20000")
    check(pair.kernel_connects(SIZE, SIZE, of_it=late), SIZE, SIZE)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (("--buffer", "2304"), 100_000),  # less than two segments
        (("--buffer", "2304", "--read", "7"), 50_000),  # and read in silly pieces
        (("--window", "536", "--buffer", "8000"), 100_000),
    ],
    ids=["tiny", "silly", "clamped"],
)
def test_tiny_windows_of_the_kernel(pair: Pair, options: tuple[str, ...], size: int) -> None:
    check(pair.kernel_connects(size, SIZE, of_it=options), size, SIZE)


@pytest.mark.parametrize("read", ["1000000", "7"], ids=["tiny", "silly"])
def test_tiny_windows_of_ours(pair: Pair, read: str) -> None:
    """Less than three segments fit, and the kernel fills what there is."""
    ours = ("--buffer", "4096", "--read", read, "--reads", "200")
    check(pair.kernel_connects(SIZE, 300_000, of_us=ours), SIZE, 300_000)


def test_we_read_in_small_pieces(pair: Pair) -> None:
    check(pair.kernel_connects(1, SIZE, of_us=("--read", "1000", "--reads", "20")), 1, SIZE)
