"""What belongs to the joined networks, and the ordinary network for all else."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from ztcli import local
from ztcli.engine import Engine, Stream
from ztcli.exit_codes import CommandError, ExitCode

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
PAC_PATH: Final = "/proxy.pac"
_NODE: Final = re.compile(r"(0x)?[0-9a-f]{10}(\.zt)?")
_LINKED: Final = "zt"
"""The top of names that are made of node ids."""


@dataclass(frozen=True, slots=True)
class Inside:
    """Where the joined networks lead, their domains, and the hosts that have a name here."""

    networks: tuple[Network, ...] = ()
    domains: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    @classmethod
    async def of(cls, engine: Engine, hosts: Iterable[str]) -> Self:
        """Ask an engine what it has joined."""
        networks: set[Network] = set()
        domains: set[str] = set()
        for report in _list((await engine.status()).get("networks")):
            for key in ("addresses", "routes"):
                networks.update(_networks(_list(report.get(key))))
            domains.add(str(report.get("dns_domain") or "").strip(".").lower())
        return cls(
            tuple(sorted(networks, key=lambda one: (one.version, one))),
            tuple(sorted(domains - {""})),
            tuple(sorted(hosts)),
        )

    def holds(self, host: str) -> bool:
        """Tell whether a host is a matter of the joined networks, and of nobody else."""
        address = _address(host)
        if address is None:
            return self._holds_name(host.lower().rstrip("."))
        return any(address in network for network in self.networks)

    def _holds_name(self, name: str) -> bool:
        if name in self.hosts or _NODE.fullmatch(name):
            return True
        if "." not in name:
            # A single word is meant within the domain of a network.
            return bool(self.domains) and name != "localhost"
        return any(name == one or name.endswith(f".{one}") for one in (*self.domains, _LINKED))

    def pac(self, proxy: str) -> str:
        """Return the script by which a browser asks our proxy for what is inside, and only that."""
        nets = [[str(one.network_address), str(one.netmask)] for one in _of(self.networks, 4)]
        long_nets = [[_bits(one), one.prefixlen] for one in _of(self.networks, 6)]
        return _PAC % {
            "way": json.dumps(f"SOCKS5 {proxy}; SOCKS {proxy}; PROXY {proxy}"),
            "hosts": json.dumps(self.hosts),
            "domains": json.dumps([f".{one}" for one in (*self.domains, _LINKED)]),
            "words": json.dumps(bool(self.domains)),
            "nets": json.dumps(nets),
            "long_nets": json.dumps(long_nets),
        }


def _of(networks: Iterable[Network], version: int) -> list[Network]:
    return [one for one in networks if one.version == version]


def _bits(network: Network) -> str:
    bits = f"{int(network.network_address):0128b}"
    return bits[: network.prefixlen]


def _list(found: object) -> list[Mapping[str, object]]:
    return list(found) if isinstance(found, list | tuple) else []


def _networks(texts: Iterable[object]) -> Iterable[Network]:
    """Read `IP/BITS` and `IP/BITS via IP`; other engines have other texts."""
    for text in texts:
        try:
            yield ipaddress.ip_network(str(text).partition(" ")[0], strict=False)
        except ValueError:
            continue


class Outside:
    """The ordinary network, for clients of a proxy; this machine itself only if they are local."""

    def __init__(self, engine: Engine, hosts: Iterable[str], *, reaches_us: bool) -> None:
        self._engine = engine
        self._hosts = tuple(hosts)
        self._reaches_us = reaches_us

    async def takes(self, host: str, code: ExitCode) -> bool:
        """Tell whether what failed inside with this code is to be tried outside."""
        if code is ExitCode.CANNOT_CONNECT:
            # Only an address that no network leads to: a name was known inside, and refused.
            if _address(host) is None:
                return False
        elif code is not ExitCode.NOT_RESOLVED:
            return False
        return not (await Inside.of(self._engine, self._hosts)).holds(host)

    async def connect(self, host: str, port: int, timeout: float | None) -> Stream:
        """Connect to the first address that answers."""
        failure: Exception | None = None
        async with asyncio.timeout(timeout):
            for address in await self.addresses(host, port, socket.SOCK_STREAM):
                try:
                    return await local.connect(address, port, timeout)
                except OSError as error:
                    failure = failure or error
        raise failure or _not_resolved(host)

    async def addresses(self, host: str, port: int, kind: socket.SocketKind) -> list[str]:
        """Return the addresses of a host that may be reached."""
        addresses = await system_addresses(host, port, kind)
        allowed = [one for one in addresses if self._reaches_us or not _is_ours(one)]
        if not allowed:
            raise CommandError(f"{host}: is this machine", ExitCode.FORBIDDEN)
        return allowed


async def system_addresses(
    host: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM
) -> list[str]:
    """Return the addresses of a host as this machine's resolver knows them."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=kind)
    except OSError as error:
        raise _not_resolved(host) from error
    return [str(entry[4][0]) for entry in found]


def _not_resolved(host: str) -> CommandError:
    return CommandError(f"{host}: there is no such name", ExitCode.NOT_RESOLVED)


def _address(text: str) -> Address | None:
    """Return an address, one of IPv4 that is written as IPv6 as what it is; None for a name."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped if mapped is not None else address


def _is_ours(text: str) -> bool:
    """Tell whether an address is this machine's own, or that of its link."""
    address = _address(text)
    assert address is not None
    return address.is_loopback or address.is_unspecified or address.is_link_local


_PAC: Final = """\
// What belongs to the joined networks goes through zt; all else goes as it always went.
var way = %(way)s, hosts = %(hosts)s, domains = %(domains)s, words = %(words)s;
var nets = %(nets)s, longNets = %(long_nets)s;

function bitsOf(ip) {
  var halves = ip.split("::"), groups = halves[0] ? halves[0].split(":") : [];
  var rest = halves.length > 1 && halves[1] ? halves[1].split(":") : [];
  while (halves.length > 1 && groups.length + rest.length < 8) groups.push("0");
  groups = groups.concat(rest);
  var bits = "";
  for (var i = 0; i < groups.length; i++)
    bits += (parseInt(groups[i], 16) + 65536).toString(2).slice(1);
  return bits;
}

function FindProxyForURL(url, host) {
  var i;
  host = host.toLowerCase().replace(/^\\[|\\]$/g, "").replace(/\\.$/, "");
  if (host.indexOf(":") >= 0) {
    for (i = 0; i < longNets.length; i++)
      if (bitsOf(host).slice(0, longNets[i][1]) === longNets[i][0]) return way;
    return "DIRECT";
  }
  if (/^[0-9]+(\\.[0-9]+){3}$/.test(host)) {
    for (i = 0; i < nets.length; i++)
      if (isInNet(host, nets[i][0], nets[i][1])) return way;
    return "DIRECT";
  }
  if (hosts.indexOf(host) >= 0 || /^(0x)?[0-9a-f]{10}$/.test(host)) return way;
  if (host.indexOf(".") < 0) return words && host !== "localhost" ? way : "DIRECT";
  for (i = 0; i < domains.length; i++)
    if (("." + host).slice(-domains[i].length) === domains[i]) return way;
  return "DIRECT";
}
"""
