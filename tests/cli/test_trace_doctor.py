"""zt trace and zt doctor: what they find, and what they never tell."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.cli import Zt, failing
from tests.support.os_engine import CHECK, OsEngine
from ztcli.engine import Engine, Pong
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode
from ztcli.options import Settings
from ztstack.base import errors

NODE = "9f8e7d6c5b"
INSIDE = Pong(NODE, "10.121.15.99", 9.5, "direct", "203.0.113.7/9993", "")
OUTSIDE = Pong(NODE, "", 8.25, "relay", "", "62f865ae71")


def tracing(home: Path, *pongs: Pong | None) -> Zt:
    def factory(env: Environment, settings: Settings) -> Engine:
        return OsEngine(pongs=pongs)

    return Zt(home, factory)


def test_the_way_to_an_address(tmp_path: Path) -> None:
    # Each is asked twice, and the second answer counts.
    zt = tracing(tmp_path, OUTSIDE, INSIDE, INSIDE, OUTSIDE)
    hops = zt("trace", "10.121.15.99").stdout.decode().splitlines()
    assert [hop.split()[:3] for hop in hops] == [
        ["1", "me", OsEngine().node_id],
        ["2", "root", CHECK.roots[0].address],
        ["3", "peer", NODE],
        ["4", "address", "10.121.15.99"],
    ]
    assert hops[2].split()[3:] == ["RELAY", "62f865ae71", "8.2", "ms"]
    assert hops[3].split()[3:] == ["DIRECT", "203.0.113.7:9993", "9.5", "ms"]


def test_the_way_to_a_node(tmp_path: Path) -> None:
    result = tracing(tmp_path, OUTSIDE, OUTSIDE)("trace", f"{NODE}.zt", "--json")
    hops = json.loads(result.stdout)["hops"]
    assert [hop["stage"] for hop in hops] == ["me", "root", "peer"]
    assert (hops[2]["who"], hops[2]["link"], hops[2]["rtt_ms"]) == (NODE, "relay", 8.25)


def test_how_far_it_went_is_told(tmp_path: Path) -> None:
    result = tracing(tmp_path, None)("trace", "10.121.15.99")
    assert result.code == ExitCode.TIMED_OUT
    assert [line.split()[1] for line in result.stdout.decode().splitlines()] == ["me", "root"]


def test_doctor_says_that_all_is_well(zt: Zt, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    result = zt("--state", str(state), "doctor")
    assert result.code == 0, result.stderr
    found = {line.split()[1]: line.split()[0] for line in result.stdout.decode().splitlines()}
    assert found["zt"] == found["identity"] == found["roots"] == "ok"
    assert found["state"] == "warning"
    assert found["networks" if "networks" in found else "network"] in ("ok", "warning")


def test_doctor_names_what_is_wrong(tmp_path: Path) -> None:
    zt = Zt(tmp_path, failing(errors.AccessDenied("not authorised")))
    result = zt("doctor", "--json")
    assert result.code == ExitCode.ACCESS_DENIED
    checks = json.loads(result.stdout)["checks"]
    failed = [one for one in checks if one["state"] == "FAILED"]
    assert [(one["check"], one["detail"]) for one in failed] == [("networks", "not authorised")]


def test_doctor_sees_that_udp_is_blocked(tmp_path: Path) -> None:
    def factory(env: Environment, settings: Settings) -> Engine:
        engine = OsEngine()
        engine.check = replace(CHECK, udp=False)
        return engine

    lines = Zt(tmp_path, factory)("doctor").stdout.decode().splitlines()
    (roots,) = [line for line in lines if " roots " in line]
    assert roots.startswith("warning")
    assert "not by UDP" in roots


def test_bundle_holds_no_secret(zt: Zt, tmp_path: Path) -> None:
    state, bundle = tmp_path / "state", tmp_path / "zt.zip"
    state.mkdir(mode=0o700)
    (state / "identity.secret").write_text("a1b2c3d4e5:0:SECRET1:SECRET2")
    (state / "agent.log").write_text("what the agent said\n")
    config = tmp_path / "config.toml"
    config.write_text(
        'upstream_proxy = "http://me:SECRET3@127.0.0.1:1"\n'
        'token_file = "SECRET4"\n'
        '[hosts]\ndb = "10.0.0.1"\n'
    )
    zt.variables |= {"ZT_TOKEN": "SECRET5", "ZT_VERBOSE": "0", "HOME": "SECRET6"}
    words = ("--state", str(state), "--config", str(config), "--bundle", str(bundle))
    result = zt("doctor", *words)
    assert result.code == 0, result.stderr
    assert bundle.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(bundle) as opened:
        parts = {name: opened.read(name).decode() for name in opened.namelist()}
    assert all(name in result.stderr for name in parts)
    assert set(parts) >= {"doctor.json", "status.json", "config.toml", "state.txt", "agent.log"}
    assert "SECRET" not in "".join(parts.values())
    assert "identity.secret" in parts["state.txt"]
    assert 'db = "10.0.0.1"' in parts["config.toml"]
    assert "ZT_VERBOSE=0" in parts["environment.txt"]
    assert "what the agent said" in parts["agent.log"]


@pytest.mark.parametrize("arguments", [["trace"], ["trace", ""], ["doctor", "--bundle"]])
def test_mistakes(zt: Zt, arguments: list[str]) -> None:
    assert zt(*arguments).code == ExitCode.USAGE


def test_bundle_that_cannot_be_written(zt: Zt, tmp_path: Path) -> None:
    result = zt("doctor", "--bundle", str(tmp_path / "none" / "zt.zip"))
    assert result.code == ExitCode.CANNOT_WRITE
