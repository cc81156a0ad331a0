"""Manual pages: one for every command, with every option that its help shows."""

from __future__ import annotations

import re

import pytest

from tests.support.cli import Zt
from ztcli import manual
from ztcli.app import COMMANDS
from ztcli.completion import entries
from ztcli.exit_codes import ExitCode

REQUESTS = {".TH", ".SH", ".TP", ".B", ".BR", ".I", ".br"}


@pytest.mark.parametrize("name", manual.names())
def test_page(name: str) -> None:
    text = manual.page(name)
    lines = text.splitlines()
    assert lines[0].startswith('.TH "ZT')
    requests = {line.split()[0] for line in lines if line.startswith(".")}
    assert requests <= REQUESTS
    assert not [line for line in lines if line.startswith("'") or not line.strip()]
    if name and not name.startswith("ssh"):
        plain = text.replace(r"\-", "-")
        children = [entry for entry in entries() if entry.words[:1] == (name,)]
        leaves = children[1:] or children
        shown = set(re.findall(r"\\fB(--[a-z0-9.-]+)\\fR", plain))
        wanted = {s for e in leaves for o in e.options for s in o.names if s.startswith("--")}
        assert wanted - {"--help"} <= shown
        assert wanted


def test_every_command_is_listed() -> None:
    text = manual.page("").replace(r"\-", "-")
    for name in COMMANDS:
        assert f".BR zt-{name} (1)" in text or name == "nc"


def test_words_that_are_no_requests() -> None:
    assert manual._text(".TH -x") == r"\&.TH \-x"
    assert manual._text(r"a\b") == r"a\eb"


def test_command(zt: Zt) -> None:
    result = zt("man", "call")
    assert (result.code, result.stdout.decode()) == (0, manual.page("call"))
    assert zt("man").stdout.decode() == manual.page("")
    result = zt("man", "nothing")
    assert result.code == ExitCode.USAGE
    assert "no such command: nothing" in result.stderr
