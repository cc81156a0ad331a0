from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

import ztstack
from tests.support.cli import Zt, free_port, make_engine
from tests.support.vectors import load
from ztcli import parsing
from ztcli.exit_codes import ExitCode, UsageProblem
from ztcli.options import Common, settings
from ztstack.aio.storage import Storage
from ztstack.crypto.identity import Identity

SECRETS = [case["secret"] for case in load("identity.json")["cases"] if case["kind"] == "valid"]
ROOT, KEEPER, NODE = (Identity.parse(secret) for secret in SECRETS[:3])
MOON = f"{int(KEEPER.address):016x}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the states of a root, of a moon's root, and of a node."""
    for name, identity in (("root", ROOT), ("keeper", KEEPER), ("node", NODE)):
        storage = Storage(tmp_path / name)
        storage.open()
        storage.save_identity(identity)
        storage.close()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(zt: Zt, port: int = 9993, *more: str) -> bytes:
    made = zt("moon", "make", "--root", f"keeper@127.0.0.1:{port}", "--sign-with", "keeper", *more)
    assert made.code == 0, made.stderr
    return made.stdout


def test_a_moon_is_made_kept_listed_and_left(zt: Zt, folder: Path) -> None:
    assert make(zt) == f"{MOON}.moon: moon {MOON} with 1 roots\n".encode()
    moon = ztstack.parse_moon((folder / f"{MOON}.moon").read_bytes())
    assert moon.roots[0].identity == KEEPER.public
    moon.verify(KEEPER.public_key)
    at = ("--state", "node")
    empty = zt("moon", "list", *at).stdout.decode()
    assert MOON not in empty
    assert zt("moon", "orbit", f"{MOON}.moon", *at).stdout == f"moon {MOON} with 1 roots\n".encode()
    kept = folder / "node" / "moons.d" / f"{MOON}.moon"
    assert kept.read_bytes() == moon.serialize()
    assert zt("moon", "list", *at).stdout.decode().split()[4::3] == [MOON, "127.0.0.1/9993"]
    listed = json.loads(zt("moon", "list", "--json", *at).stdout)
    assert listed["moons"][0]["roots"][0]["node"] == str(KEEPER.address)
    assert zt("moon", "deorbit", MOON, *at).code == 0
    assert not kept.exists()
    again = zt("moon", "deorbit", MOON, *at)
    assert (again.code, again.stdout) == (ExitCode.USAGE, b"")


def test_making_over_a_file_is_refused(zt: Zt, folder: Path) -> None:
    make(zt, 9993, "-o", "mine")
    arguments = (
        "moon",
        "make",
        "--root",
        "keeper@1.2.3.4:5",
        "--sign-with",
        "keeper",
        "-o",
        "mine",
    )
    assert zt(*arguments).code == ExitCode.USAGE
    assert zt(*arguments, "--force", "--id", "00000000000000aa").code == 0
    assert ztstack.parse_moon((folder / "mine").read_bytes()).id == 0xAA


def test_a_state_in_use_is_not_touched(zt: Zt, folder: Path) -> None:
    make(zt)
    storage = Storage(folder / "node")
    storage.open()
    try:
        result = zt("moon", "orbit", f"{MOON}.moon", "--state", "node")
        assert result.code == ExitCode.STATE_IN_USE
    finally:
        storage.close()


@pytest.mark.parametrize(
    "arguments",
    [
        ["orbit"],
        ["orbit", "xyz"],
        ["orbit", "0000000000000000"],
        ["orbit", "123456789"],
        ["orbit", "12345678901234567"],
        ["orbit", "1234567890", "nobody"],
        ["orbit", "planet"],
        ["deorbit", "moon"],
        ["deorbit", "1234567890", "--ephemeral"],
        ["make", "--root", "keeper@1.2.3.4:5"],
        ["make", "--root", "keeper@1.2.3.4:5", "--sign-with", "keeper", "--id", "0"],
        ["make", "--root", "keeper", "--sign-with", "keeper"],
    ],
    ids=" ".join,
)
def test_usage(zt: Zt, folder: Path, arguments: list[str]) -> None:
    (folder / "planet").write_bytes(b"\x01 is no moon")
    result = zt("moon", *arguments)
    assert result.code == ExitCode.USAGE
    assert result.stdout == b""


def test_the_option() -> None:
    common = Common(moon=["1234567890", "00000000000000aa@a1b2c3d4e5,1122334455@0102030405"])
    assert settings(common, Path("x")).moons == (
        (0x1234567890, 0x1234567890),
        (0xAA, 0xA1B2C3D4E5),
        (0x1122334455, 0x0102030405),
    )
    with pytest.raises(UsageProblem, match="managed stack"):
        settings(Common(stack="overlay", moon=["1234567890"]), Path("x"))
    assert parsing.moon("0xA1B2C3D4E5@7") == (0xA1B2C3D4E5, 7)


def test_a_moon_is_fetched_from_its_seed(tmp_path: Path, folder: Path) -> None:
    """A root and the moon's own root run; the command asks, keeps and goes."""
    zt = Zt(tmp_path, make_engine)
    ports = free_port(), free_port()
    make(zt, ports[1])
    zt("planet", "make", "--root", f"root@127.0.0.1:{ports[0]}", "--sign-with", "root")
    planet = (folder / "planet").read_bytes()
    assert zt("moon", "orbit", f"{MOON}.moon", "--state", "keeper").code == 0

    async def main() -> tuple[tuple[int, bytes], tuple[int, bytes]]:
        hosts = [
            ztstack.Node(ztstack.root_config(folder / name, identity, planet, ()))
            for name, identity in (("root", ROOT), ("keeper", KEEPER))
        ]
        for host in hosts:
            await host.start()
        try:
            found = await asyncio.to_thread(run, "moon", "orbit", MOON, str(KEEPER.address))
            other = "00000000000000bb"
            missing = await asyncio.to_thread(run, "moon", "orbit", other, "--timeout", "2s")
        finally:
            for host in hosts:
                await host.stop()
        return found, missing

    def run(*arguments: str) -> tuple[int, bytes]:
        result = zt(*arguments, "--state", "node", "--planet", "planet")
        return result.code, result.stdout

    found, missing = asyncio.run(main())
    assert found == (0, f"moon {MOON} with 1 roots\n".encode())
    assert missing == (ExitCode.TIMED_OUT, b"")
    assert [moon.id for moon in ztstack.MoonFiles(folder / "node").list()] == [int(MOON, 16)]


def test_a_root_that_nobody_names(folder: Path) -> None:
    with pytest.raises(ValueError, match="neither the planet nor a moon"):
        ztstack.root_config(folder / "root", ROOT, None, ())


def test_a_root_of_a_moon_under_the_official_planet(zt: Zt, folder: Path) -> None:
    make(zt, 4321)
    zt("moon", "orbit", f"{MOON}.moon", "--state", "keeper")
    config = ztstack.root_config(folder / "keeper", KEEPER, None, ())
    assert [str(endpoint) for endpoint in config.bind] == ["0.0.0.0/4321"]
    assert (config.root, config.planet) == (True, None)
