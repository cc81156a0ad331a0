"""Captures of two real nodes, judged by tshark."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.peers import required
from tests.support.real_servers import program
from tests.support.site import ROOT_PORT, Site, site
from tests.support.zt_process import wait_until

pytestmark = pytest.mark.timeout(120)

PORT = 7311
DATA = bytes(range(256)) * 4000
FIELDS = (
    "frame.interface_name",
    "tcp.srcport",
    "tcp.seq",
    "tcp.len",
    "tcp.flags.syn",
    "tcp.flags.fin",
)
TRUE = ("1", "True")
# The datagrams are encrypted: whatever else tshark sees in them would be chance.
ENVELOPES = ("-d", "udp.port==1-65535,data")


@pytest.fixture(scope="module")
def tshark() -> Iterator[str]:
    with required():
        yield program("tshark")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tshark: str) -> Iterator[Site]:
    with required(), site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture(scope="module")
def captures(world: Site) -> dict[str, Path]:
    """Send DATA to a listener that is ended by SIGTERM, and capture both ends in both ways."""
    network = world.create_network()
    nodes = {label: world.node(label, network) for label in ("left", "right")}
    files = {
        f"{label}-{kind}": world.folder / f"{label}.{kind}"
        for label in nodes
        for kind in ("pcap", "pcap-wire")
    }

    def capturing(label: str) -> list[str]:
        return [
            word
            for kind in ("pcap", "pcap-wire")
            for word in (f"--{kind}", str(files[f"{label}-{kind}"]))
        ]

    listener = nodes["left"].start(
        "listen", str(PORT), "--tcp", "--no-stdin", "-k", *capturing("left")
    )
    ip = next(text for text in listener.ready()["addresses"] if ":" not in text)
    called = nodes["right"].run("call", ip, str(PORT), *capturing("right"), data=DATA)
    assert called.returncode == 0, called.stderr.decode()
    wait_until("everything arrives", lambda: listener.stdout.stat().st_size == len(DATA), 20.0)
    assert listener.stop() == 143, listener.words()
    return files


def rows(tshark: str, file: Path, *arguments: str) -> list[list[str]]:
    done = subprocess.run(
        [tshark, "-n", "-r", str(file), *arguments],
        capture_output=True,
        check=True,
        text=True,
        timeout=30.0,
    )
    assert "cut short" not in done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.parametrize("end", ["left", "right"])
def test_frames(tshark: str, captures: dict[str, Path], end: str) -> None:
    file = captures[f"{end}-pcap"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    checked = ("-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE")
    assert rows(tshark, file, *checked, "-Y", "_ws.malformed || tcp.checksum.status == 0") == []
    about = f"tcp.port == {PORT}"
    fields = ("-T", "fields", *(word for name in FIELDS for word in ("-e", name)))
    seen = rows(tshark, file, "-Y", about, *fields)
    # On a busy machine the last segment may be sent again before its ACK is read.
    syns = {(source, seq) for _, source, seq, _, syn, _ in seen if syn in TRUE}
    ends = {(source, int(seq) + int(size)) for _, source, seq, size, _, fin in seen if fin in TRUE}
    assert len(syns) == len(ends) == 2
    # Nothing is lost here, so every byte is there once, and that needs hundreds of frames.
    assert sum(int(row[3]) for row in seen) >= len(DATA)
    assert len({row[0] for row in seen}) == 1
    assert len(rows(tshark, file, "-Y", "arp || icmpv6")) > 0


@pytest.mark.parametrize("end", ["left", "right"])
def test_wire(world: Site, tshark: str, captures: dict[str, Path], end: str) -> None:
    file = captures[f"{end}-pcap-wire"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    checked = (*ENVELOPES, "-o", "udp.check_checksum:TRUE")
    assert rows(tshark, file, *checked, "-Y", "_ws.malformed || udp.checksum.status == 0") == []
    total = len(rows(tshark, file, *checked))
    assert total == len(rows(tshark, file, *checked, "-Y", "udp")) > len(DATA) // 1500
    here = world.nodes[end].machine.address
    root = f"ip.addr == {world.hub.address} && ip.addr == {here} && udp.port == {ROOT_PORT}"
    assert rows(tshark, file, *checked, "-Y", root)
    left, right = (world.nodes[label].machine.address for label in ("left", "right"))
    assert rows(tshark, file, *checked, "-Y", f"ip.src == {right} && ip.dst == {left}")
