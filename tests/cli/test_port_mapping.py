"""The option that asks the router for a port, and what it says where it cannot be."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import ztstack
from tests.support.cli import Zt, make_engine
from tests.support.states import keep_identity
from tests.support.vl2 import BOB
from ztcli.exit_codes import ExitCode, UsageProblem
from ztcli.options import Common, settings


@pytest.fixture
def state(tmp_path: Path) -> Path:
    keep_identity(tmp_path / "state", BOB)
    return tmp_path / "state"


def test_it_is_off_unless_named() -> None:
    def chosen(before: bool | None, after: bool | None) -> bool:
        common = Common(port_mapping=before).merged(Common(port_mapping=after))
        return settings(common, Path("x")).port_mapping

    assert not ztstack.NodeConfig().port_mapping
    assert not chosen(None, None)
    assert chosen(True, None)
    assert chosen(None, True)
    assert not chosen(True, False)


def test_the_overlay_has_none() -> None:
    with pytest.raises(UsageProblem, match="managed stack"):
        settings(Common(stack="overlay", port_mapping=True), Path("x"))
    assert not settings(Common(stack="overlay", port_mapping=False), Path("x")).port_mapping


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["netcheck"], ["controller", "run"]],
    ids=" ".join,
)
def test_without_the_package_it_says_what_to_install(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if "upnp" in name else find(name)
    )
    zt = Zt(tmp_path, make_engine)
    result = zt(*arguments, "--port-mapping", "--state", str(state), "--timeout", "5s")
    assert (result.code, result.stdout) == (ExitCode.USAGE, b"")
    assert "pip install 'ztstack[portmap]'" in result.stderr
