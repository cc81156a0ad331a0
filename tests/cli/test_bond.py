"""zt bond: what it prints of bonds, for people, for machines, and while it watches."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Zt
from tests.support.os_engine import OsEngine
from ztcli.engine import Engine, Pong
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode
from ztcli.options import Settings
from ztstack.base.address import Address
from ztstack.base.endpoint import Endpoint
from ztstack.bonding.report import BondReport, LinkReport

PEER, OTHER = "0102030405", "0a0b0c0d0e"
CLEAR = b"\x1b[H\x1b[2J"


def link(remote: str, interface: str, state: str, reason: str, share: float) -> LinkReport:
    return LinkReport(
        socket=0,
        remote=Endpoint.parse(remote),
        interface=interface,
        state=state,
        reason=reason,
        rtt_ms=12.34 if share else -1.0,
        variance_ms=0.5 if share else -1.0,
        loss=0.015 if share else -1.0,
        errors=0.0,
        rate_bytes=5e6 if share else -1.0,
        share=share,
        sent_bytes=int(share * 1000),
        received_bytes=7,
        flows=3,
    )


BOND = BondReport(
    peer=Address.parse(PEER),
    policy="active-backup",
    links=(
        link("10.0.0.2/9993", "eth0", "active", "best", 1.0),
        link("fd00::2/9993", "", "dead", "no answer", 0.0),
    ),
    warmups=2,
    duplicates=1,
)


class BondedEngine(OsEngine):
    """A node whose bonds are, one after the other, those given; the last stays."""

    def __init__(self, *snapshots: list[BondReport]) -> None:
        super().__init__(pongs=[Pong(PEER, "", 1.0, "direct", "", "")] * 2)
        self._snapshots = list(snapshots)

    async def status(self) -> dict[str, object]:
        found = self._snapshots[0]
        if len(self._snapshots) > 1:
            del self._snapshots[0]
        return {**await super().status(), "bonds": [bond.values() for bond in found]}


def bonded(zt: Zt, *snapshots: list[BondReport]) -> Zt:
    def factory(env: Environment, settings: Settings) -> Engine:
        return BondedEngine(*snapshots)

    return Zt(zt.home, factory, zt.variables)


def test_list(zt: Zt) -> None:
    result = bonded(zt, [BOND])("bond", "list")
    assert result.code == ExitCode.OK
    assert result.stdout.decode().splitlines() == [
        "PEER\tPOLICY\tPATHS\tTX\tRX\tUSED",
        f"{PEER}\tactive-backup\t2\t1000\t14\t10.0.0.2:9993",
    ]


def test_show(zt: Zt) -> None:
    result = bonded(zt, [BOND])("bond", "show", PEER)
    assert result.code == ExitCode.OK
    assert result.stdout.decode().splitlines() == [
        f"peer      {PEER}",
        "policy    active-backup",
        "by root   2 packets sent twice",
        "dropped   1 duplicate",
        "PATH\tLINK\tSTATE\tRTT\tVAR\tLOSS\tSHARE\tRATE\tTX\tRX\tFLOWS\tWHY",
        "10.0.0.2:9993\teth0\tactive\t12.3\t0.5\t1.5%\t100%\t5000000\t1000\t7\t3\tbest",
        "[fd00::2]:9993\t#0\tdead\t-\t-\t-\t0%\t-\t0\t7\t3\tno answer",
    ]


def test_json(zt: Zt) -> None:
    shown = json.loads(bonded(zt, [BOND])("bond", "show", PEER, "--json").stdout)
    assert (shown["v"], shown["type"], shown["peer"]) == (1, "bond", PEER)
    assert [one["state"] for one in shown["links"]] == ["active", "dead"]
    listed = json.loads(bonded(zt, [BOND])("bond", "list", "--json").stdout)
    assert (listed["v"], listed["type"], listed["bonds"]) == (1, "bonds", [BOND.values()])


def test_no_bond_with_that_peer(zt: Zt) -> None:
    result = bonded(zt, [BOND])("bond", "show", OTHER)
    assert (result.code, result.stdout) == (ExitCode.CANNOT_CONNECT, b"")
    assert OTHER in result.stderr
    assert bonded(zt, [])("bond", "list").stdout.count(b"\n") == 1


def test_events_tell_what_changes(zt: Zt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ztcli.commands.bond.WATCH_S", 0.01)
    engine = bonded(zt, [BOND], [BOND], [])
    result = engine("bond", "list", "--watch", "--json", "--timeout", "500ms")
    assert result.code == ExitCode.TIMED_OUT
    events: list[dict[str, Any]] = [json.loads(line) for line in result.stdout.splitlines()]
    assert {event["v"] for event in events} == {1}
    paths = [event for event in events if event["event"] == "path"]
    assert [(path["remote"], path["before"], path["state"]) for path in paths] == [
        ("10.0.0.2/9993", "", "active"),
        ("fd00::2/9993", "", "dead"),
        ("10.0.0.2/9993", "active", "gone"),
        ("fd00::2/9993", "dead", "gone"),
    ]
    assert events[-1]["event"] == "bonds"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_live_view_on_a_terminal(zt: Zt) -> None:
    leader, follower = os.openpty()
    try:
        code, _ = bonded(zt, [BOND]).run(
            ["bond", "show", PEER, "--watch", "--timeout", "300ms"], 0, follower
        )
        found = os.read(leader, 65536)
    finally:
        os.close(leader)
        os.close(follower)
    assert code == ExitCode.TIMED_OUT
    assert found.startswith(CLEAR)
    assert b"no answer" in found


def test_overlay_has_none(zt: Zt) -> None:
    assert zt("bond", "list", "--stack", "overlay").code == ExitCode.USAGE


def test_who_is_left_over_does_not_answer(zt: Zt, tmp_path: Path) -> None:
    (tmp_path / "bonds.port").write_text("{}")
    result = bonded(zt, [BOND])("bond", "list", "--state", str(tmp_path))
    assert result.code == ExitCode.OK
