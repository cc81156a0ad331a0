"""Turns the text of arguments into values, or refuses with a sentence."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from ztcli.exit_codes import UsageProblem

_HEX: Final = frozenset("0123456789abcdefABCDEF")
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_SIZE: Final = re.compile(r"(\d+)([kKMG]i?)?[bB]?")
_SIZE_UNITS: Final = {
    "k": 1000,
    "M": 1000**2,
    "G": 1000**3,
    "ki": 1024,
    "Mi": 1024**2,
    "Gi": 1024**3,
    None: 1,
}
STACKS: Final = ("managed", "zerotier", "libzt", "overlay")
BOND_POLICIES: Final = {
    "off": "off",
    "active-backup": "active-backup",
    "activebackup": "active-backup",
    "broadcast": "broadcast",
    "balance-rr": "balance-rr",
    "balance-roundrobin": "balance-rr",
    "balance-round-robin": "balance-rr",
    "roundrobin": "balance-rr",
    "rr": "balance-rr",
    "balance-xor": "balance-xor",
    "xor": "balance-xor",
    "balance-aware": "balance-aware",
    "aware": "balance-aware",
}
MAX_MP_SOCKETS: Final = 8
_SCHEMES: Final = ("http", "https", "tcp", "tls")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """What a call goes to; `url` is set for http and https."""

    scheme: str
    host: str
    ports: tuple[int, ...]
    url: str = ""

    @property
    def is_http(self) -> bool:
        return self.scheme in _DEFAULT_PORTS

    @property
    def port(self) -> int:
        if len(self.ports) != 1:
            raise UsageProblem("several ports can only be tested: add -z")
        return self.ports[0]


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen: a host of ours or None for all, and a port; 0 picks one."""

    scheme: str
    host: str | None
    port: int


@dataclass(frozen=True, slots=True)
class OverlayPeer:
    """A peer of the overlay that is known before it speaks."""

    node: int
    host: str
    port: int


def duration(text: str) -> float | None:
    """Read `500ms`, `5s`, `2m`, `1h` or seconds; `0` and `off` are None, no limit."""
    text = text.strip().lower()
    if text == "off":
        return None
    found = _DURATION.fullmatch(text)
    if found is None:
        raise UsageProblem(f"a duration is written 500ms, 5s, 2m, 1h or off, not {text!r}")
    seconds = float(found[1]) * _DURATION_UNITS[found[2]]
    return seconds or None


def duration_or(text: str | None, default: float | None) -> float | None:
    """Read a duration if there is one."""
    return duration(text) if text is not None else default


def size(text: str) -> int:
    """Read a count of bytes: `64k`, `10M`, `1G` are powers of 1000, `Ki` and so on of 1024."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageProblem(f"a size is written 1000, 64k, 10M or 4Ki, not {text!r}")
    unit = found[2]
    if unit is not None and unit[0] in "kK":
        unit = "k" + unit[1:]
    return int(found[1]) * _SIZE_UNITS[unit]


def port(text: str, *, zero: bool = False) -> int:
    """Read a port number."""
    least = 0 if zero else 1
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and least <= int(text) <= 65535):
        raise UsageProblem(f"a port is a number from {least} to 65535, not {text!r}")
    return int(text)


def ports(text: str) -> tuple[int, ...]:
    """Read `22`, `20-30` or `20-30,443`."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        start = port(first)
        end = port(last) if dash else start
        if end < start:
            raise UsageProblem(f"a range of ports goes up, not {part!r}")
        found.extend(range(start, end + 1))
    return tuple(found)


def network(text: str) -> tuple[int, bool]:
    """Read a network id; the second value tells that decimal was assumed.

    Hexadecimal with `0x`, with 16 characters or with a letter; decimal otherwise.
    """
    text = text.strip()
    digits = text[2:] if text[:2] in ("0x", "0X") else text
    is_hex = digits != text or len(text) == 16 or any(c in "abcdefABCDEF" for c in text)
    if not digits or not _HEX.issuperset(digits):
        raise UsageProblem(f"a network id is sixteen hexadecimal digits, not {text!r}")
    value = int(digits, 16 if is_hex else 10)
    if not 0 < value < 1 << 64:
        raise UsageProblem(f"a network id has 64 bits and is not zero: {text!r}")
    return value, not is_hex


def check_controller(network: str, text: str) -> None:
    """Refuse an id that begins with ten zeros: that would be its controller's address."""
    if network.startswith("0" * 10):
        raise UsageProblem(
            f"{text}: no network has the id {network}",
            "it is sixteen hexadecimal digits; did you paste the network's name, or a part?",
        )


def network_text(text: str) -> str:
    """Read a network id and write it as sixteen hexadecimal digits."""
    return f"{network(text)[0]:016x}"


def node_id(text: str) -> int:
    """Read a node id: hexadecimal with `0x`, ten characters or a letter; decimal otherwise."""
    digits = text[2:] if text[:2] in ("0x", "0X") else text
    is_hex = digits != text or len(text) == 10 or any(c in "abcdefABCDEF" for c in text)
    if not digits or not _HEX.issuperset(digits):
        raise UsageProblem(f"a node id is ten hexadecimal digits, not {text!r}")
    value = int(digits, 16 if is_hex else 10)
    if not 0 < value < 1 << 40:
        raise UsageProblem(f"a node id has 40 bits, not {text!r}")
    return value


def host_port(text: str, *, zero: bool = False) -> tuple[str, int]:
    """Read `HOST:PORT` or `[V6]:PORT`; a missing port is refused."""
    host, colon, rest = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host or text.startswith("["):
        raise UsageProblem(f"{text}: an IPv6 address with a port is written [ADDRESS]:PORT")
    if not colon or not host:
        raise UsageProblem(f"{text}: the port is missing; write HOST:PORT")
    return host, port(rest, zero=zero)


def physical(text: str) -> tuple[str, int]:
    """Read `IP[:PORT]` of a local socket; without a port any is taken."""
    if text.count(":") > 1 and not text.startswith("["):
        return text, 0
    if text.startswith("[") and text.endswith("]"):
        return text[1:-1], 0
    if ":" not in text:
        return text, 0
    return host_port(text, zero=True)


def target(text: str, port_text: str | None = None) -> Target:
    """Read what `zt call` is to reach: a URL, `HOST PORT` or `HOST:PORT`."""
    scheme, separator, rest = text.partition("://")
    if separator:
        return _url_target(text, scheme.lower(), rest, port_text)
    if port_text is not None:
        host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        if not host:
            raise UsageProblem("the host is empty")
        return Target("tcp", host, ports(port_text))
    host, number = host_port(text)
    return Target("tcp", host, (number,))


def _url_target(text: str, scheme: str, rest: str, port_text: str | None) -> Target:
    if scheme not in _SCHEMES:
        raise UsageProblem(f"{text}: a URL begins with http, https, tcp or tls")
    if port_text is not None:
        raise UsageProblem(f"{text}: a URL holds its port; {port_text!r} is too much")
    place = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    if scheme not in _DEFAULT_PORTS:
        host, number = host_port(place)
        return Target(scheme, host, (number,))
    if ":" not in place.rpartition("]")[2]:
        host = place[1:-1] if place.startswith("[") and place.endswith("]") else place
        if not host:
            raise UsageProblem(f"{text}: the host is missing")
        return Target(scheme, host, (_DEFAULT_PORTS[scheme],), text)
    host, number = host_port(place)
    return Target(scheme, host, (number,), text)


def place(text: str) -> Place:
    """Read where to listen: `PORT`, `IP:PORT`, `tcp://IP:PORT` or `http://IP:PORT`."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "", text
    elif scheme.lower() not in ("tcp", "http", "udp"):
        raise UsageProblem(f"{text}: listening is tcp://, http:// or a port")
    rest = rest.rstrip("/")
    if rest.isdigit():
        return Place(scheme.lower(), None, port(rest, zero=True))
    if ":" not in rest:
        raise UsageProblem(f"{text}: write PORT or IP:PORT")
    host, number = host_port(rest, zero=True) if not rest.startswith(":") else ("", 0)
    if not host:
        return Place(scheme.lower(), None, port(rest[1:], zero=True))
    anywhere = host in ("*", "0.0.0.0", "::")  # noqa: S104 - inside the network only
    return Place(scheme.lower(), None if anywhere else host, number)


def relay(text: str) -> tuple[str, int] | None:
    """Read `tcp://HOST:PORT` of a TCP relay; None for `auto` and `off`."""
    if text.lower() in ("auto", "off"):
        return None
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() != "tcp":
        raise UsageProblem(f"--relay is auto, off or tcp://HOST:PORT, not {text!r}")
    return host_port(rest.rstrip("/"))


_PROXY_PORTS: Final = {"http": 8080, "socks5": 1080, "socks5h": 1080}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy of this side, on the way to the TCP relay."""

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)


def upstream_proxy(text: str) -> Proxy:
    """Read a proxy's URL; what is said of a wrong one never shows its password."""
    try:
        url = urlsplit(text)
        scheme = url.scheme.lower()
        number = url.port or _PROXY_PORTS.get(scheme, 0)
    except ValueError:
        url, scheme, number = urlsplit(""), "", 0
    if scheme not in _PROXY_PORTS or not url.hostname or url.path.strip("/") or url.query:
        raise UsageProblem("--upstream-proxy is http://HOST:PORT or socks5h://HOST:PORT")
    names = unquote(url.username or ""), unquote(url.password or "")
    return Proxy(scheme, url.hostname, number, *names)


def moon(text: str) -> tuple[int, int]:
    """Read `ID[@SEED]` of a moon; its id is by convention the address of a root, its seed."""
    name, at, seed = text.partition("@")
    digits = name[2:] if name[:2] in ("0x", "0X") else name
    if not 10 <= len(digits) <= 16 or not _HEX.issuperset(digits) or not int(digits, 16):
        raise UsageProblem(f"a moon's id is 10 to 16 hexadecimal digits, not {name!r}")
    value = int(digits, 16)
    return value, node_id(seed) if at else value & 0xFFFFFFFFFF


def overlay_peer(text: str) -> OverlayPeer:
    """Read `NODEID@IP:PORT`."""
    node, at, where = text.partition("@")
    if not at:
        raise UsageProblem(f"a peer is NODEID@IP:PORT, not {text!r}")
    host, number = host_port(where)
    return OverlayPeer(node_id(node), host, number)


def root_hint(text: str) -> tuple[int, str, int]:
    """Read `ID@IP:PORT`, where a root or a peer may be; a name would be asked of the system."""
    node, at, where = text.partition("@")
    if not at:
        raise UsageProblem(f"--root-hint is ID@IP:PORT, not {text!r}")
    host, number = host_port(where)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise UsageProblem(f"--root-hint is ID@IP:PORT, and {host!r} is no IP address") from None
    return node_id(node), host, number


def ip_mapping(text: str) -> tuple[str, int]:
    """Read `IP=NODEID`."""
    ip, equals, node = text.partition("=")
    if not equals or not ip:
        raise UsageProblem(f"a mapping is IP=NODEID, not {text!r}")
    return ip, node_id(node)


def identity_at(text: str) -> tuple[str, str, int]:
    """Read `IDENTITY@IP:PORT` of a root; the identity is a file or its text."""
    identity, at, where = text.rpartition("@")
    if not at or not identity:
        raise UsageProblem(f"a root is IDENTITY@IP:PORT, not {text!r}")
    host, number = host_port(where)
    return identity, host, number


def stack(text: str) -> str:
    """Read the name of a stack; `zerotier` and `libzt` are other names of `managed`."""
    name = text.strip().lower()
    if name not in STACKS:
        raise UsageProblem(f"a stack is {', '.join(STACKS)}, not {text!r}")
    return "overlay" if name == "overlay" else "managed"


def bond_policy(text: str) -> str:
    """Read a bonding policy in any of its spellings."""
    found = BOND_POLICIES.get(text.strip().lower())
    if found is None:
        raise UsageProblem(
            f"--mp-bond is off, active-backup, broadcast, balance-rr, balance-xor or"
            f" balance-aware, not {text!r}"
        )
    return found


def udp_sockets(text: str) -> int:
    """Read how many UDP sockets there are to be."""
    is_number = text.isascii() and text.isdigit() and len(text) <= 5
    if not is_number or not 1 <= int(text) <= MAX_MP_SOCKETS:
        raise UsageProblem(f"--mp-udp-sockets is a number from 1 to {MAX_MP_SOCKETS}, not {text!r}")
    return int(text)


def udp_ports(text: str) -> tuple[int, ...]:
    """Read `P1,P2,...`; 0 means any, and nothing between commas is nothing."""
    found = tuple(port(part.strip(), zero=True) for part in text.split(",") if part.strip())
    if not found:
        raise UsageProblem(f"--mp-udp-ports is P1,P2,..., not {text!r}")
    if len(found) > MAX_MP_SOCKETS:
        raise UsageProblem(
            f"--mp-udp-ports names {len(found)} ports; {MAX_MP_SOCKETS} are the most"
        )
    fixed = [one for one in found if one]
    if len(set(fixed)) < len(fixed):
        raise UsageProblem(f"--mp-udp-ports names a port twice: {text}")
    return found


def local_ips(text: str) -> tuple[str, ...]:
    """Read `IP,IP,...` of this machine, to which sockets are bound."""
    found = []
    for part in text.split(","):
        try:
            address = ipaddress.ip_address(part.strip())
        except ValueError:
            raise UsageProblem(f"--mp-bind is IP,IP,..., not {text!r}") from None
        if address.is_unspecified or address.is_multicast or "%" in part:
            raise UsageProblem(f"--mp-bind {address}: is no address of one interface")
        found.append(str(address))
    if len(set(found)) < len(found):
        raise UsageProblem(f"--mp-bind names an address twice: {text}")
    if len(found) > MAX_MP_SOCKETS:
        raise UsageProblem(f"--mp-bind names {len(found)} addresses; {MAX_MP_SOCKETS} are the most")
    return tuple(found)


def boolean(text: str, what: str) -> bool:
    """Read true or false."""
    match text.strip().lower():
        case "true":
            return True
        case "false":
            return False
        case _:
            raise UsageProblem(f"{what} is true or false, not {text!r}")


def header(text: str) -> tuple[str, str]:
    """Read `Name: value`."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or any(c in text for c in "\r\n"):
        raise UsageProblem(f"a header is 'Name: value', not {text!r}")
    return name.strip(), value.strip()
