"""The specifications of `zt expose` and `zt forward`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ztcli import parsing
from ztcli.exit_codes import UsageProblem

_PIECE: Final = re.compile(r"\[[^\]]*\]|[^:\[\]]+")
_UNIX: Final = "unix:"
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Local:
    """An end on this machine: a TCP or UDP port, a Unix socket, or stdin and stdout."""

    host: str = ""
    port: int = 0
    path: str = ""
    is_stdio: bool = False

    def __str__(self) -> str:
        if self.is_stdio:
            return "-"
        return f"{_UNIX}{self.path}" if self.path else pair(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Exposure:
    """A port in the network and the local service behind it; `host` None means all addresses."""

    host: str | None
    port: int
    target: Local
    udp: bool


@dataclass(frozen=True, slots=True)
class Forwarding:
    """A local end and the place in the network to which it leads."""

    local: Local
    host: str
    port: int
    udp: bool


def pair(host: str, port: int) -> str:
    """Write a host and a port as one text."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def local(text: str) -> Local:
    """Read `HOST:PORT` or `unix:PATH`."""
    if text.startswith(_UNIX):
        return Local(path=_path(text[len(_UNIX) :]))
    host, port = parsing.host_port(text)
    return Local(host, port)


def exposure(text: str, listen: str | None, to: str | None, *, udp: bool) -> Exposure:
    """Read `PORT`, `PORT:HOST:PORT` or `PORT:unix:PATH`, perhaps with `/udp` behind it."""
    body, udp = _protocol(text, udp=udp)
    if listen is None and to is None and ":" in body:
        number, _, target = body.partition(":")
        port = parsing.port(number, zero=True)
        return Exposure(None, port, _checked(local(target), udp=udp), udp)
    host: str | None = None
    port = own = parsing.port(body)
    if listen is not None:
        place = parsing.place(listen)
        if place.scheme:
            raise UsageProblem(f"--listen is PORT or IP:PORT, not {listen!r}")
        host, port = place.host, place.port
    target_end = local(to) if to is not None else Local(LOOPBACK, own)
    return Exposure(host, port, _checked(target_end, udp=udp), udp)


def forwarding(text: str) -> Forwarding:
    """Read `[BIND:]LPORT:HOST:RPORT[/udp]` or `LPORT:HOST`; `unix:PATH` and `-` are ends too."""
    body, udp = _protocol(text, udp=False)
    if body.startswith(_UNIX):
        path, host, port = _unix_parts(text, body[len(_UNIX) :])
        return Forwarding(_checked(Local(path=path), udp=udp), host, port, udp)
    pieces = _PIECE.findall(body)
    if ":".join(pieces) != body or not 2 <= len(pieces) <= 4:
        raise UsageProblem(f"a forward is [BIND:]LPORT:HOST:RPORT[/udp], not {text!r}")
    if pieces[0] in ("-", "stdio"):
        if len(pieces) != 3:
            raise UsageProblem(f"stdin and stdout are forwarded with -:HOST:RPORT, not {text!r}")
        end = _checked(Local(is_stdio=True), udp=udp)
        return Forwarding(end, _host(pieces[1]), parsing.port(pieces[2]), udp)
    bind = _host(pieces.pop(0)) if len(pieces) == 4 else LOOPBACK
    own = parsing.port(pieces[0], zero=len(pieces) == 3)
    port = parsing.port(pieces[2]) if len(pieces) == 3 else own
    return Forwarding(Local(bind, own), _host(pieces[1]), port, udp)


def _unix_parts(text: str, rest: str) -> tuple[str, str, int]:
    before, _, port = rest.rpartition(":")
    if before.endswith("]"):
        path, _, host = before.rpartition(":[")
        host = host[:-1]
    else:
        path, _, host = before.rpartition(":")
    if not host:
        raise UsageProblem(f"a Unix socket is forwarded with unix:PATH:HOST:RPORT, not {text!r}")
    return _path(path), host, parsing.port(port)


def _protocol(text: str, *, udp: bool) -> tuple[str, bool]:
    for ending in ("/udp", "/tcp"):
        if text.endswith(ending) and not text.startswith(_UNIX):
            return text[: -len(ending)], udp or ending == "/udp"
    return text, udp


def _checked(end: Local, *, udp: bool) -> Local:
    if udp and (end.path or end.is_stdio):
        raise UsageProblem("datagrams go between ports, not to Unix sockets or stdin")
    return end


def _path(path: str) -> str:
    if not path:
        raise UsageProblem("a Unix socket is written unix:PATH")
    return path


def _host(text: str) -> str:
    return text[1:-1] if text.startswith("[") else text
