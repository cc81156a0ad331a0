"""What belongs to the joined networks, as we and as browsers tell it."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import pytest
from pypac.parser import PACFile  # type: ignore[import-untyped] # it has no types

from tests.support.os_engine import OsEngine
from ztcli.exit_codes import CommandError, ExitCode
from ztcli.inside import Inside, Outside

PROXY = "SOCKS5 127.0.0.1:1080; SOCKS 127.0.0.1:1080; PROXY 127.0.0.1:1080"


class _Joined(OsEngine):
    async def status(self) -> dict[str, object]:
        report = {
            "addresses": ("10.121.15.20/16", "fd80:56c2:e21c::1/88"),
            "routes": ("10.121.0.0/16", "192.168.40.0/23 via 10.121.0.1", "nonsense"),
            "dns_domain": "Office.Example.",
        }
        return {"networks": [report, {"addresses": ["a1b2c3d4e5"]}]}


@pytest.fixture(scope="module")
def inside() -> Inside:
    return asyncio.run(Inside.of(_Joined(), ["nas", "media.home"]))


INSIDE = [
    "10.121.15.99",
    "192.168.41.255",
    "fd80:56c2:e21c::99:9301",
    "FD80:56C2:E21C:0:0:0:0:7",
    "db.office.example",
    "DB.Office.Example.",
    "office.example",
    "db",
    "nas",
    "media.home",
    "a1b2c3d4e5",
    "a1b2c3d4e5.zt",
    "0xa1b2c3d4e5",
]
OUTSIDE = [
    "10.122.0.1",
    "192.168.42.0",
    "fd80:56c3::1",
    "::1",
    "127.0.0.1",
    "localhost",
    "notoffice.example",
    "office.example.org",
    "www.media.home",
    "a1b2c3d4e5.example",
]


@pytest.mark.parametrize("host", INSIDE)
def test_inside(inside: Inside, host: str) -> None:
    assert inside.holds(host)
    assert _way(inside, host) == PROXY


@pytest.mark.parametrize("host", OUTSIDE)
def test_outside(inside: Inside, host: str) -> None:
    assert not inside.holds(host)
    assert _way(inside, host) == "DIRECT"


def _way(inside: Inside, host: str) -> str:
    written = f"[{host}]" if ":" in host else host
    script = PACFile(inside.pac("127.0.0.1:1080"))
    return str(script.find_proxy_for_url(f"http://{written}/", host))


def test_an_address_of_ipv4_in_the_clothes_of_ipv6(inside: Inside) -> None:
    assert inside.holds("::ffff:10.121.0.1")
    assert not inside.holds("::ffff:10.122.0.1")


def test_a_word_alone_is_inside_only_where_there_is_a_domain() -> None:
    bare = Inside((ipaddress.ip_network("10.0.0.0/8"),))
    assert not bare.holds("printer")
    assert _way(bare, "printer") == "DIRECT"


@pytest.mark.parametrize(
    ("host", "code", "taken"),
    [
        ("www.example.org", ExitCode.NOT_RESOLVED, True),
        ("db.office.example", ExitCode.NOT_RESOLVED, False),
        ("nas", ExitCode.NOT_RESOLVED, False),
        # It was known inside, and there it refused.
        ("www.example.org", ExitCode.CANNOT_CONNECT, False),
        ("192.0.2.1", ExitCode.CANNOT_CONNECT, True),
        ("10.121.0.9", ExitCode.CANNOT_CONNECT, False),
        ("192.0.2.1", ExitCode.TIMED_OUT, False),
    ],
)
def test_what_is_tried_outside(host: str, code: ExitCode, *, taken: bool) -> None:
    outside = Outside(_Joined(), ["nas"], reaches_us=True)
    assert asyncio.run(outside.takes(host, code)) == taken


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "169.254.1.1", "::ffff:127.0.0.1"])
def test_this_machine_is_for_local_clients_only(host: str) -> None:
    async def addresses(*, reaches_us: bool) -> list[str]:
        outside = Outside(_Joined(), [], reaches_us=reaches_us)
        return await outside.addresses(host, 80, socket.SOCK_STREAM)

    assert asyncio.run(addresses(reaches_us=True)) == [host]
    with pytest.raises(CommandError) as caught:
        asyncio.run(addresses(reaches_us=False))
    assert caught.value.code is ExitCode.FORBIDDEN
