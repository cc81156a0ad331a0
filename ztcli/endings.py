"""What each exit code means, and which of them a command can end with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ztcli.exit_codes import ExitCode as Code

MEANINGS: Final[Mapping[Code, str]] = {
    Code.OK: "Done.",
    Code.INTERNAL: "An error in zt itself.",
    Code.USAGE: "The command line or a file is wrong; nothing was sent.",
    Code.NOT_RESOLVED: "A name is not known in the network.",
    Code.CANNOT_CONNECT: "Refused, or nobody has the address.",
    Code.BODY_TOO_SHORT: "The body is shorter than announced.",
    Code.HTTP_STATUS: "The server's status is 400 or more, with --fail.",
    Code.CANNOT_WRITE: "The output cannot be written.",
    Code.CANNOT_READ: "The input cannot be read.",
    Code.TIMED_OUT: "A limit of time is over.",
    Code.TLS_FAILED: "The TLS handshake failed.",
    Code.TOO_MANY_REDIRECTS: "Too many redirects.",
    Code.EMPTY_REPLY: "The server closed without an answer.",
    Code.CONNECTION_LOST: "The connection was lost on the way.",
    Code.TLS_NOT_TRUSTED: "The certificate is not trusted.",
    Code.OFFLINE: "No root and no relay answered.",
    Code.NETWORK_NOT_FOUND: "The controller is silent, has no such network or gave no address.",
    Code.ACCESS_DENIED: "This node is not authorised.",
    Code.AUTHENTICATION_REQUIRED: "The network wants a login.",
    Code.STATE_IN_USE: "Another process uses the state directory.",
    Code.BAD_IDENTITY: "The identity is broken, or others can read it.",
    Code.RELAYED_ONLY: "There is only a relayed path.",
    Code.PORT_IN_USE: "The port is in use.",
    Code.FORBIDDEN: "Forbidden, by --deny or by the network's rules.",
    Code.NO_AGENT: "--agent require, and none runs.",
    Code.HUNG_UP: "Ended by SIGHUP.",
    Code.INTERRUPTED: "Ended by SIGINT.",
    Code.OUTPUT_CLOSED: "The reader of the output went away.",
    Code.TERMINATED: "Ended by SIGTERM.",
}

_ALWAYS: Final = (
    *(Code.OK, Code.INTERNAL, Code.USAGE, Code.CANNOT_WRITE),
    *(Code.HUNG_UP, Code.INTERRUPTED, Code.OUTPUT_CLOSED, Code.TERMINATED),
)
_NODE: Final = (Code.OFFLINE, Code.STATE_IN_USE, Code.BAD_IDENTITY, Code.NO_AGENT, Code.TIMED_OUT)
_MEMBER: Final = (
    *_NODE,
    *(Code.NETWORK_NOT_FOUND, Code.ACCESS_DENIED, Code.AUTHENTICATION_REQUIRED),
)
_REACHING: Final = (*_MEMBER, Code.NOT_RESOLVED, Code.CANNOT_CONNECT, Code.FORBIDDEN)
_SERVING: Final = (*_MEMBER, Code.PORT_IN_USE)
_FILES: Final = (Code.CANNOT_READ,)
_STATE: Final = (Code.STATE_IN_USE, Code.BAD_IDENTITY, Code.CANNOT_READ)
_API: Final = (
    *(Code.NOT_RESOLVED, Code.CANNOT_CONNECT, Code.TIMED_OUT, Code.CANNOT_READ, Code.HTTP_STATUS),
    *(Code.ACCESS_DENIED, Code.NETWORK_NOT_FOUND, Code.CONNECTION_LOST),
)
_OWN: Final[Mapping[str, tuple[Code, ...]]] = {
    "agent run": _MEMBER,
    "agent start": _MEMBER,
    "agent log": (Code.NO_AGENT,),
    "agent reload": _MEMBER,
    "agent status": (Code.NO_AGENT,),
    "agent stop": (Code.NO_AGENT,),
    "bench": (*_REACHING, Code.PORT_IN_USE, Code.RELAYED_ONLY, Code.CONNECTION_LOST),
    "bond": _NODE,
    "call": (
        *_REACHING,
        *(Code.BODY_TOO_SHORT, Code.HTTP_STATUS, Code.CANNOT_READ, Code.TOO_MANY_REDIRECTS),
        *(Code.TLS_FAILED, Code.TLS_NOT_TRUSTED, Code.EMPTY_REPLY, Code.CONNECTION_LOST),
    ),
    "config": _FILES,
    "controller": (*_NODE, Code.PORT_IN_USE),
    "expose": (*_SERVING, Code.CANNOT_CONNECT),
    "forward": (*_SERVING, Code.NOT_RESOLVED),
    "host": _FILES,
    "identity": _STATE,
    "ip": _MEMBER,
    "join": (*_MEMBER, *_API),
    "lab": _SERVING,
    "leave": _STATE,
    "listen": (
        *_SERVING,
        *(Code.CANNOT_READ, Code.CONNECTION_LOST, Code.TLS_FAILED, Code.TLS_NOT_TRUSTED),
    ),
    "moon": _STATE,
    "netcheck": _NODE,
    "network": (*_API, *_STATE),
    "network adhoc": (),
    "networks": _STATE,
    "peers": _NODE,
    "ping": (*_REACHING, Code.RELAYED_ONLY),
    "planet": _STATE,
    "proxy": (*_SERVING, Code.CANNOT_READ),
    "root": (*_NODE, Code.PORT_IN_USE),
    "relay": (Code.PORT_IN_USE, Code.TIMED_OUT),
    "run": (*_MEMBER, Code.CANNOT_READ),
    "ssh": (*_REACHING, Code.CONNECTION_LOST),
    "status": _NODE,
    "trace": (*_REACHING,),
    "doctor": (*_REACHING,),
    "docs": _FILES,
    "udp-listen": _SERVING,
    "udp-send": (*_REACHING, Code.CANNOT_READ),
    "up": (*_SERVING, Code.NOT_RESOLVED, Code.CANNOT_CONNECT),
    "wait": (*_REACHING, Code.RELAYED_ONLY),
}
"""By the words of a command, or by its first; besides those that every command has."""


def codes_of(name: str) -> tuple[Code, ...]:
    """Return what a command can end with, in order; `run` and `ssh` also with their child's."""
    words = "call" if name == "nc" else name
    own = _OWN.get(words, _OWN.get(words.partition(" ")[0], ()))
    return tuple(sorted({*_ALWAYS, *own}))
