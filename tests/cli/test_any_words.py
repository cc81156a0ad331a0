"""Command lines of any words end as they should: with a code that has a meaning, and few words."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Zt, failing
from ztcli.app import COMMANDS, load
from ztcli.exit_codes import ExitCode
from ztstack.base import errors

# What stays, what starts programs, and what asks a controller over the ordinary network.
LEFT_OUT = (
    *("agent", "controller", "lab", "relay", "root", "run", "selftest", "ssh", "ssh-config"),
    *("bond", "doctor", "help", "network", "nc"),
)
OF_TIME = ("count", "every", "idle_timeout", "interval", "repeat", "retry", "timeout", "watch")
NEVER = ("authorize", "config", "controller", "help", "json", "trace", *OF_TIME)
VALUES = (
    *("", "-", "x", "0", "-1", "80", "65536", "9" * 20, "1.5", "ü", "\n", "é" * 300, "{", "%"),
    *("a:80", "a:b", "[::1]:80", "::1", "10.0.0.1", "10.0.0.1:80", ":80", "0.0.0.0/0", "//"),
    *("http://", "http://a/", "https://a:99999/", "tcp://a:1", "unix:/x", "unix:", "ftp://a"),
    *("@", "@none", "@-", "8056c2e21c000001", "a1b2c3d4e5", "0x", "=", "a=b", "K: V", "K", "../.."),
    *("1h", "5x", "10M", "1-2", "20-30,443", "9-1", "1,2,3", "true", "%{x}", "%{http_code}"),
    *("-:a:80", "1:a:2:3:4", "0:a:80", "none/such/file", "a@b:1", "a1b2c3d4e5@10.0.0.1:1"),
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A command that does something itself."""

    words: list[str]
    command: Any


def leaves() -> list[Leaf]:
    found = []
    for name in COMMANDS:
        if name in LEFT_OUT:
            continue
        command = load(name)
        children = getattr(command, "commands", {})
        found += [Leaf([name, child_name], child) for child_name, child in children.items()]
        if not children:
            found.append(Leaf([name], command))
    return found


def some_words(chance: random.Random, leaf: Leaf) -> list[str]:
    parameters = leaf.command.params
    places = [parameter for parameter in parameters if parameter.param_type_name == "argument"]
    made = leaf.words + [chance.choice(VALUES) for _ in places if chance.random() < 0.9]
    known = [
        parameter
        for parameter in parameters
        if parameter.param_type_name == "option" and parameter.name not in NEVER
    ]
    for parameter in chance.sample(known, k=chance.randint(0, 3)):
        made.append(chance.choice(parameter.opts))
        if not parameter.is_flag:
            made.append(chance.choice(VALUES))
    return made


@pytest.mark.parametrize("seed", range(4))
def test_any_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.chdir(tmp_path)
    chance = random.Random(seed)
    zt = Zt(tmp_path, failing(errors.Offline("no root answered")))
    known = leaves()
    for _ in range(60):
        words = some_words(chance, chance.choice(known))
        result = zt(*words, "--timeout", "2s")
        assert result.code in set(ExitCode) - {ExitCode.INTERNAL}, (words, result)
        if result.code:
            assert 1 <= result.stderr.count("\n") <= 6, (words, result)
            assert f"[ZT-E{result.code:03}]" in result.stderr, (words, result)
