"""Names that people gave to networks and hosts: the config file's, and those that commands keep.

What commands learn (`zt join lab=NWID`, `zt host add`) is kept in the state directory, so that the
config file is only ever written by its owner.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self

from ztcli import parsing
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.files import replace_file

FILE: Final = "names.json"
_LIMIT: Final = 1 << 20
_ALIAS: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_NODE: Final = re.compile(r"(?i)(0x)?[0-9a-f]{10}(\.zt)?")
_NETWORK: Final = re.compile(r"[0-9a-fA-F]{16}")
_NETWORK_ID: Final = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Names:
    """Names of networks and hosts, and the networks that were left."""

    networks: Mapping[str, str] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()

    def network(self, text: str) -> tuple[str, bool]:
        """Return the id of a network by its name or id; the bool says that decimal was assumed."""
        text = text.strip()
        known = self.networks.get(text)
        if known is not None:
            return known, False
        try:
            value, is_decimal = parsing.network(text)
        except UsageProblem as problem:
            if _ALIAS.fullmatch(text) is None:
                raise
            raise UsageProblem(
                f"{text}: no network has this name here",
                f"give it one: zt join {text}=NWID (sixteen hexadecimal digits)",
            ) from problem
        return f"{value:016x}", is_decimal

    def alias(self, network: str) -> str:
        """Return the name of a network, empty if it has none."""
        return next((name for name, known in self.networks.items() if known == network), "")

    def host(self, text: str) -> str:
        """Return what a name of a host stands for, or the text itself."""
        return self.hosts.get(text.lower(), text)

    def over(self, other: Names) -> Names:
        """Return these and the others; where both know a name, these win."""
        return Names({**other.networks, **self.networks}, {**other.hosts, **self.hosts}, other.left)

    def with_network(self, alias: str, network: str) -> Self:
        return replace(self, networks={**self.networks, check_alias(alias): network})

    def without_network(self, network: str) -> Self:
        kept = {name: known for name, known in self.networks.items() if known != network}
        return replace(self, networks=kept, left=tuple(one for one in self.left if one != network))

    def with_left(self, network: str) -> Self:
        return replace(self, left=tuple(dict.fromkeys((*self.left, network))))

    def with_host(self, name: str, address: str) -> Self:
        return replace(self, hosts={**self.hosts, check_host(name): check_address(address)})

    def without_host(self, name: str) -> Self:
        kept = {known: address for known, address in self.hosts.items() if known != name.lower()}
        return replace(self, hosts=kept)


def check_alias(text: str) -> str:
    """Refuse a name that could be mistaken for an id."""
    if _ALIAS.fullmatch(text) is None or _NETWORK.fullmatch(text):
        raise UsageProblem(
            f"a network is named by letters, digits, - and _, a letter first, not {text!r}"
        )
    return text


def check_host(text: str) -> str:
    """Refuse a name that could be mistaken for an address or a node id."""
    is_address = True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        is_address = False
    if is_address or _HOST.fullmatch(text) is None or _NODE.fullmatch(text):
        raise UsageProblem(f"a host is named like a host, not {text!r}")
    return text.lower()


def check_address(text: str) -> str:
    """Take an IP address or a node id."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    if _NODE.fullmatch(text) is None:
        raise UsageProblem(f"a host's address is an IP address or a node id, not {text!r}")
    return text.lower()


def named_network(text: str, known: Names) -> tuple[str, str, bool]:
    """Read `ALIAS=NWID`, an alias or an id; return the alias to remember, if any, and the id."""
    alias, equals, rest = text.partition("=")
    if not equals:
        return "", *known.network(text)
    network, is_decimal = known.network(rest)
    return check_alias(alias), network, is_decimal


def load(state: Path) -> Names:
    """Return the names that a state directory keeps."""
    path = state / FILE
    try:
        with path.open("rb") as stream:
            data = json.loads(stream.read(_LIMIT))
    except (FileNotFoundError, NotADirectoryError):
        return Names()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", ExitCode.CANNOT_READ) from error
    except (ValueError, RecursionError):
        raise UsageProblem(f"{path}: is not JSON", "mend or remove it") from None
    if not isinstance(data, dict):
        raise UsageProblem(f"{path}: is not an object of names", "mend or remove it")
    left = data.get("left")
    return Names(
        networks={
            name: known
            for name, known in _texts(data.get("networks")).items()
            if _NETWORK_ID.fullmatch(known)
        },
        hosts=_texts(data.get("hosts")),
        left=tuple(
            one
            for one in (left if isinstance(left, list) else [])
            if isinstance(one, str) and _NETWORK_ID.fullmatch(one)
        ),
    )


def _texts(found: object) -> dict[str, str]:
    if not isinstance(found, dict):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, str)}


def save(state: Path, names: Names) -> None:
    """Write the names at once and whole, for their owner only."""
    data = {
        "v": 1,
        "networks": dict(sorted(names.networks.items())),
        "hosts": dict(sorted(names.hosts.items())),
        "left": sorted(names.left),
    }
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{state}: {error.strerror}", ExitCode.CANNOT_WRITE) from error
    replace_file(state / FILE, (json.dumps(data, indent=1) + "\n").encode())
