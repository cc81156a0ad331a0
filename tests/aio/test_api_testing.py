"""The fixture `zt_lab`, which the installed package gives to pytest, and its bad weather."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import ztstack
from tests.support.vl2 import ALICE, BOB, CONTROLLER, ROOT
from ztstack.aio.storage import Storage
from ztstack.testing import lab as lab_module
from ztstack.testing.factory import LabFactory
from ztstack.testing.weather import Weather, parse_latency

pytestmark = pytest.mark.timeout(60)


def ipv4(node: ztstack.BlockingNode) -> str:
    return next(ip for ip in node.addresses() if "." in ip)


def exchange(alice: ztstack.BlockingNode, bob: ztstack.BlockingNode, size: int) -> int:
    """Let bytes go there and back; return how many came."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as file:
            connection.sendall(file.read())

    with ThreadPoolExecutor(1) as threads, bob.create_server((None, 0)) as server:
        done = threads.submit(serve)
        with alice.create_connection((ipv4(bob), server.port)) as sock:
            sock.sendall(bytes(size))
            sock.shutdown(1)
            with sock.makefile("rb") as file:
                found = len(file.read())
        done.result()
    return found


@pytest.fixture(autouse=True)
def known_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    """To make them takes long."""
    monkeypatch.setattr(lab_module, "_identities", [ROOT, ALICE, BOB, CONTROLLER])


def test_loss(zt_lab: LabFactory) -> None:
    lab = zt_lab(nodes=2, loss=0.05, seed=1)
    alice, bob = lab.nodes
    assert exchange(alice, bob, 500_000) == 500_000
    assert lab.lost > 10


def test_latency_and_weather_that_changes(zt_lab: LabFactory) -> None:
    lab = zt_lab(latency="20ms")
    alice, bob = lab.nodes
    alice.ping(ipv4(bob))  # The first one has to find the other node.
    assert alice.ping(ipv4(bob)).rtt_ms > 39
    lab.set_weather(loss=1)
    with pytest.raises(TimeoutError):
        alice.ping(ipv4(bob), timeout=0.2)
    lab.set_weather()
    assert alice.ping(ipv4(bob)).node == bob.address


def test_relay_only(zt_lab: LabFactory) -> None:
    lab = zt_lab(relay_only=True)
    alice, bob = lab.nodes
    assert exchange(alice, bob, 100_000) == 100_000
    assert alice.ping(ipv4(bob)).link == "relay"


def test_asynchronous(zt_lab: LabFactory) -> None:
    async def body() -> None:
        async with asyncio.timeout(30), zt_lab.running(nodes=3) as lab:
            assert len({str(node.address) for node in lab.nodes}) == 3
            server = await lab.nodes[2].start_server(lambda _, writer: writer.close(), port=7)
            address = str(lab.nodes[2].address)
            for node in lab.nodes[:2]:
                reader, writer = await node.open_connection(address, 7)
                assert await reader.read() == b""
                writer.close()
            server.close()

    asyncio.run(body())


def test_identities_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Storage(tmp_path / "kept" / "0")
    (tmp_path / "kept").mkdir()
    kept.open()
    kept.save_identity(CONTROLLER)
    kept.close()
    monkeypatch.setattr(lab_module, "_identities", [])
    lab = lab_module.NodeLab(tmp_path / "lab", nodes=0, identities=tmp_path / "kept")

    async def body() -> None:
        async with lab:
            assert lab.network.startswith(str(CONTROLLER.address))

    asyncio.run(body())
    assert lab_module._identities == [CONTROLLER]


def test_settings() -> None:
    assert [parse_latency(text) for text in (2, "20ms", "0.5s", "8 us")] == [2, 0.02, 0.5, 8e-6]
    for wrong in ("20", "ms", "1h"):
        with pytest.raises(ztstack.LocalError):
            parse_latency(wrong)
    with pytest.raises(ztstack.LocalError):
        Weather(loss=2)
    with pytest.raises(ztstack.LocalError):
        Weather(latency=-1)


def test_the_plugin_loads_nothing_until_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_light():\n"
        "    assert 'ztcli.pytest_plugin' in sys.modules\n"
        "    assert 'ztstack' not in sys.modules\n"
        "def test_lab(zt_lab):\n"
        "    assert zt_lab.running(nodes=0).nodes == []\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
