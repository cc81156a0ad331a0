"""zt selftest: every check passes here, and one that does not is told and counted."""

from __future__ import annotations

import json
import socket

import pytest

from tests.support.cli import Zt
from ztcli.exit_codes import ExitCode
from ztstack.testing import selftest


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may leave this process."""

    def refuse(*arguments: object, **options: object) -> socket.socket:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "sendto", refuse)


def test_all_is_well(zt: Zt) -> None:
    result = zt("selftest", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.code == 0, events
    assert [event["check"] for event in events if not event["ok"]] == []
    assert len(events) >= 8
    assert {(event["v"], event["event"]) for event in events} == {(1, "check")}


def test_a_failure_is_told(zt: Zt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "DATAGRAM_US", 0)
    result = zt("selftest")
    lines = result.stdout.decode().splitlines()
    assert result.code == ExitCode.INTERNAL
    assert [line.split()[1] for line in lines if line.startswith("FAILED")][:1] == ["datagrams"]
    assert sum(line.startswith("ok ") for line in lines) >= 4
