from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

import ztstack
from tests.support.cli import Zt, free_port, make_engine
from tests.support.states import keep_identity
from tests.support.vectors import load
from ztcli import parsing
from ztcli.exit_codes import ExitCode, UsageProblem
from ztcli.options import Common, settings
from ztstack.crypto.identity import Identity

SECRETS = [case["secret"] for case in load("identity.json")["cases"] if case["kind"] == "valid"]
ROOT, KEEPER, NODE = (Identity.parse(secret) for secret in SECRETS[:3])
MOON = f"{int(KEEPER.address):016x}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the states of a root, of a moon's root, and of a node."""
    for name, identity in (("root", ROOT), ("keeper", KEEPER), ("node", NODE)):
        keep_identity(tmp_path / name, identity)
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


@pytest.fixture
def ports(zt: Zt, folder: Path) -> tuple[int, int]:
    """The ports of a root and of a moon's root, whose planet and moon are files in the folder."""
    ports = free_port(), free_port()
    make(zt, ports[1])
    zt("planet", "make", "--root", f"root@127.0.0.1:{ports[0]}", "--sign-with", "root")
    assert zt("moon", "orbit", f"{MOON}.moon", "--state", "keeper").code == 0
    return ports


@asynccontextmanager
async def running_roots(folder: Path) -> AsyncIterator[bytes]:
    """Run the root and the moon's root; gives the planet."""
    planet = (folder / "planet").read_bytes()
    async with AsyncExitStack() as stack:
        for name, identity in (("root", ROOT), ("keeper", KEEPER)):
            host = ztstack.Node(ztstack.root_config(folder / name, identity, planet, ()))
            await stack.enter_async_context(host)
        yield planet


def test_a_moon_is_fetched_from_its_seed(
    tmp_path: Path, folder: Path, ports: tuple[int, int]
) -> None:
    """A root and the moon's own root run; the command asks, keeps and goes."""
    zt = Zt(tmp_path, make_engine)

    async def main() -> tuple[tuple[int, bytes], tuple[int, bytes]]:
        async with running_roots(folder):
            found = await asyncio.to_thread(run, "moon", "orbit", MOON, str(KEEPER.address))
            other = "00000000000000bb"
            missing = await asyncio.to_thread(run, "moon", "orbit", other, "--timeout", "2s")
        return found, missing

    def run(*arguments: str) -> tuple[int, bytes]:
        result = zt(*arguments, "--state", "node", "--planet", "planet")
        return result.code, result.stdout

    found, missing = asyncio.run(main())
    assert found == (0, f"moon {MOON} with 1 roots\n".encode())
    assert missing == (ExitCode.TIMED_OUT, b"")
    assert [moon.id for moon in ztstack.MoonFiles(folder / "node").list()] == [int(MOON, 16)]


@pytest.mark.slow  # The node that asks makes an identity.
@pytest.mark.timeout(120)
def test_a_running_node_follows(tmp_path: Path, folder: Path, ports: tuple[int, int]) -> None:
    """By file, by seed, and away again, while a node holds the state directory."""
    zt = Zt(tmp_path, make_engine)

    def run(*arguments: str) -> None:
        result = zt("moon", *arguments, "--state", "node")
        assert result.code == 0, result.stderr
        assert result.stderr == "the running node follows within seconds\n"

    async def main() -> None:
        async with running_roots(folder) as planet:
            config = ztstack.NodeConfig(state=folder / "node", planet=planet)
            async with ztstack.Node(config) as node:

                async def seen(moons: list[int]) -> None:
                    deadline = time.monotonic() + 8.0
                    for _ in iter(lambda: [moon.id for moon in node.moons()], moons):
                        assert time.monotonic() < deadline
                        await asyncio.sleep(0.02)
                    assert node.service.node.switch.is_upstream(KEEPER.address) is bool(moons)

                await asyncio.to_thread(run, "orbit", f"{MOON}.moon")
                await seen([int(MOON, 16)])
                await asyncio.to_thread(run, "deorbit", MOON)
                await seen([])
                await asyncio.to_thread(run, "orbit", MOON)
                await seen([int(MOON, 16)])

    asyncio.run(main())


def test_a_root_that_nobody_names(folder: Path) -> None:
    with pytest.raises(ValueError, match="neither the planet nor a moon"):
        ztstack.root_config(folder / "root", ROOT, None, ())


def test_a_root_of_a_moon_under_the_official_planet(zt: Zt, folder: Path) -> None:
    make(zt, 4321)
    zt("moon", "orbit", f"{MOON}.moon", "--state", "keeper")
    config = ztstack.root_config(folder / "keeper", KEEPER, None, ())
    assert [str(endpoint) for endpoint in config.bind] == ["0.0.0.0/4321"]
    assert (config.root, config.planet) == (True, None)
