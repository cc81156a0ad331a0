"""The tests' own links between two machines: what they do to datagrams, and what they count."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.link_emulator import LinkEmulator, Way, direct_link, emulated_uplink
from tests.support.netns import Lan, Machine, lan
from tests.support.peers import required
from tests.support.zt_process import wait_until

pytestmark = pytest.mark.timeout(60)

COUNT = 500
# Keeps the numbers of the numbered datagrams; answers others, and "list" with what it has kept.
ECHO = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
sock.bind(("0.0.0.0", 5000))
print(flush=True)
seen = []
while True:
    data, peer = sock.recvfrom(65536)
    if data == b"list":
        sock.sendto(" ".join(["list", *seen]).encode(), peer)
    elif data[:1] == b"n":
        seen.append(data[1:6].decode() if not any(data[6:]) else "-1")
    else:
        sock.sendto(data, peer)
"""
# Sends numbered datagrams between two that are answered, or asks for the list.
ASK = """
import json, socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((sys.argv[1], 5000))
sock.settimeout(0.2)
def ask(word):
    began = time.monotonic()  # an answer may be to an earlier of several
    while True:
        try:
            sock.send(word)
            while not (answer := sock.recv(65536)).startswith(word):
                pass
            return answer, time.monotonic() - began
        except OSError:  # nothing in time, or told of a smaller MTU
            pass
if sys.argv[2:] == []:
    print(json.dumps([int(one) for one in ask(b"list")[0].split()[1:]]))
    sys.exit()
ask(b"first")
refused = 0
for number in range(int(sys.argv[2])):
    try:
        sock.send(b"n%05d" % number + bytes(int(sys.argv[3])))
    except OSError:
        refused += 1
_, seconds = ask(b"last")
mtu = sock.getsockopt(socket.IPPROTO_IP, 14)
print(json.dumps({"seconds": seconds, "refused": refused, "mtu": mtu}))
"""


@pytest.fixture(scope="module")
def network() -> Iterator[Lan]:
    with required(), lan() as made:
        made.machine("left")
        made.machine("right")
        yield made


@pytest.fixture
def link(network: Lan) -> Iterator[LinkEmulator]:
    left, right = network.machines
    with required(), direct_link(network, left, right, 1, Way()) as made, echoing(right):
        yield made


@contextmanager
def echoing(machine: Machine) -> Iterator[None]:
    server = machine.popen([sys.executable, "-c", ECHO])
    assert server.stdout is not None
    server.stdout.readline()
    try:
        yield
    finally:
        server.kill()
        server.communicate()


def run_ask(network: Lan, *arguments: str) -> Any:  # noqa: ANN401 # JSON
    done = network.machines[0].run([sys.executable, "-c", ASK, *arguments], seconds=30.0)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def ask(network: Lan, link: LinkEmulator, count: int = COUNT, size: int = 100) -> dict[str, Any]:
    """Send numbered datagrams; return which came, once none is on its way, and a round trip."""
    result: dict[str, Any] = run_ask(network, link.right, str(count), str(size))
    wait_until("nothing is on its way", lambda: is_idle(link), 20.0)
    return {**result, "came": run_ask(network, link.right)}


def is_idle(link: LinkEmulator) -> bool:
    there = link.counts()["there"]
    gone = sum(there.get(name, 0) for name in ("passed", "lost", "overflowed", "too_big"))
    return there["came"] + there.get("duplicated", 0) == gone


def test_carries_everything_in_order(network: Lan, link: LinkEmulator) -> None:
    assert ask(network, link)["came"] == list(range(COUNT))
    there = link.counts()["there"]
    assert there["passed"] == there["came"] > COUNT
    assert there["overrun"] == 0


def test_loses_a_share(network: Lan, link: LinkEmulator) -> None:
    link.change(Way(loss=0.2))
    came = ask(network, link)["came"]
    counts = link.counts()
    assert COUNT - len(came) <= counts["there"]["lost"]
    assert 50 < COUNT - len(came) < 150
    assert "lost" not in counts["back"]


def test_sends_some_twice(network: Lan, link: LinkEmulator) -> None:
    link.change(Way(duplicate=0.2))
    came = ask(network, link)["came"]
    assert sorted(set(came)) == list(range(COUNT))
    assert 50 < len(came) - COUNT <= link.counts()["there"]["duplicated"]


def test_holds_some_back(network: Lan, link: LinkEmulator) -> None:
    link.change(Way(reorder=0.2, reorder_ms=30.0))
    came = ask(network, link)["came"]
    assert came != sorted(came)
    assert sorted(came) == list(range(COUNT))
    assert link.counts()["there"]["held_back"] > 50


def test_jitter_lets_frames_overtake_each_other(network: Lan, link: LinkEmulator) -> None:
    link.change(Way(delay_ms=20.0, jitter_ms=10.0))
    came = ask(network, link)["came"]
    assert came != sorted(came)
    assert sorted(came) == list(range(COUNT))


def test_what_is_corrupted_does_not_pass_a_checksum(network: Lan, link: LinkEmulator) -> None:
    link.change(Way(corrupt=0.2))
    came = ask(network, link)["came"]
    assert -1 not in came
    assert 50 < COUNT - len(came) <= link.counts()["there"]["corrupted"]


def test_delays_both_ways(network: Lan, link: LinkEmulator) -> None:
    link.change(Way(delay_ms=25.0), Way(delay_ms=15.0))
    assert ask(network, link, 1)["seconds"] >= 0.04


def test_a_rate_has_a_queue_with_a_bound(network: Lan, link: LinkEmulator) -> None:
    link.change(Way(rate_mbit=4.0, queue_bytes=20_000))
    result = ask(network, link, size=1000)
    there = link.counts()["there"]
    assert there["overflowed"] > 50
    assert result["came"][:15] == list(range(15))
    # What was queued before the last echo, and the echo, took its time.
    assert result["seconds"] >= 142 * 8 / 4e6


def test_a_smaller_mtu_is_told_to_the_sender(network: Lan, link: LinkEmulator) -> None:
    assert ask(network, link, 3, 1400)["came"] == [0, 1, 2]
    link.change(Way(mtu=1200))
    result = ask(network, link, 50, 1400)
    assert result["mtu"] == 1200
    assert link.counts()["there"]["too_big"] > 0


def test_a_silent_smaller_mtu_is_a_black_hole(network: Lan, link: LinkEmulator) -> None:
    link.change(Way(mtu=1200, silent=True))
    result = ask(network, link, 50, 1400)
    assert (result["mtu"], result["came"], result["refused"]) == (1500, [], 0)
    assert link.counts()["there"]["too_big"] == 50


def test_one_direction_alone_can_fail(network: Lan, link: LinkEmulator) -> None:
    ask(network, link, 1)
    link.change(back=Way(down=True))
    left = network.machines[0]
    code = f"import socket; s = socket.socket(2, 2); s.sendto(b'n00007', ({link.right!r}, 5000))"
    left.run([sys.executable, "-c", code], seconds=10.0)
    link.change(back=Way())
    assert ask(network, link, 0)["came"] == [0, 7]
    link.change(there=Way(down=True))
    before = link.counts()["there"]["passed"]
    left.run([sys.executable, "-c", code], seconds=10.0)
    link.change(there=Way())
    assert link.counts()["there"]["passed"] == before


def test_an_uplink_is_there_only_in_its_block(network: Lan) -> None:
    left, right = network.machines
    with echoing(right):
        with emulated_uplink(network, left, Way(delay_ms=20.0)) as link:
            assert run_ask(network, right.address, "5", "1")["seconds"] >= 0.04
            assert link.counts()["there"]["came"] > 5
        assert run_ask(network, right.address) == list(range(5))


def test_a_stream_of_large_segments_goes_as_single_packets(
    network: Lan, link: LinkEmulator
) -> None:
    left, right = network.machines
    serve = (
        "import socket\ns = socket.create_server(('0.0.0.0', 5001)); print(flush=True)\n"
        "c, _ = s.accept(); n = 0\n"
        "while d := c.recv(1 << 18): n += len(d)\n"
        "print(n)"
    )
    send = (
        f"import socket\ns = socket.create_connection(({link.right!r}, 5001))\n"
        "s.sendall(bytes(3_000_000))"
    )
    server = right.popen([sys.executable, "-c", serve])
    assert server.stdout is not None
    server.stdout.readline()
    assert left.run([sys.executable, "-c", send], seconds=30.0).returncode == 0
    assert server.communicate(timeout=30)[0] == b"3000000\n"
    there = link.counts()["there"]
    assert there["passed"] > 3_000_000 / 1448
    assert there["overrun"] == there.get("unsendable", 0) == 0
