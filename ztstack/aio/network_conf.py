"""`networks.d/<nwid>.local.conf`: what one network may do on this node (vl2 section 9.2)."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Final

from ztstack.aio.conf_values import refuse_unknown
from ztstack.base.errors import InvalidConfig, StorageError
from ztstack.base.network_id import NetworkId
from ztstack.vl2.local_settings import EVERYTHING, LocalSettings, Subnet
from ztstack.wire.dictionary import Dictionary

_KEYS: Final = ("allowManaged", "allowGlobal", "allowDefault", "allowDNS")
_YES: Final = frozenset(("1", "t", "true"))
_NO: Final = frozenset(("", "0", "f", "false"))
_FLAG_CHARACTERS: Final = 5
"""A value of `allowManaged` that is longer is a list of subnets."""
_FILE_LIMIT: Final = 4096


def network_conf_file(state: Path, network: NetworkId) -> Path:
    return state / "networks.d" / f"{network}.local.conf"


def read_network_conf(state: Path | None, network: NetworkId) -> LocalSettings:
    """Read the file of a network; without one the network may do everything.

    InvalidConfig names the file and what is wrong with it.
    """
    if state is None:
        return EVERYTHING
    path = network_conf_file(state, network)
    try:
        with path.open("rb") as stream:
            text = stream.read(_FILE_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return EVERYTHING
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    try:
        return parse_network_conf(text)
    except InvalidConfig as error:
        raise InvalidConfig(f"{path}: {error}") from None


def parse_network_conf(text: bytes) -> LocalSettings:
    """Read the content of the file; keys that are missing have the official defaults."""
    if len(text) > _FILE_LIMIT:
        raise InvalidConfig(f"longer than {_FILE_LIMIT} bytes")
    entries: dict[str, str] = {}
    for key, value in Dictionary.parse(text).pairs():
        # Of a key that occurs twice the first one counts, as in every dictionary.
        entries.setdefault(key, value.decode(errors="replace").strip())
    refuse_unknown(entries, _KEYS, "settings")
    managed = entries.get("allowManaged", "1")
    is_list = len(managed) > _FLAG_CHARACTERS
    return LocalSettings(
        allow_managed=is_list or _flag(entries, "allowManaged", default=True),
        allow_global=_flag(entries, "allowGlobal"),
        allow_default=_flag(entries, "allowDefault"),
        allow_dns=_flag(entries, "allowDNS"),
        only=_subnets(managed) if is_list else (),
    )


def _flag(entries: dict[str, str], key: str, *, default: bool = False) -> bool:
    value = entries.get(key)
    if value is None:
        return default
    if value.lower() in _YES:
        return True
    if value.lower() in _NO:
        return False
    raise InvalidConfig(f"{key} is 0 or 1, not {value!r}")


def _subnets(text: str) -> tuple[Subnet, ...]:
    found = []
    for item in text.split(","):
        try:
            network = ipaddress.ip_network(item.strip(), strict=False)
        except ValueError:
            raise InvalidConfig(
                f"allowManaged is 0, 1 or a list of IP/BITS, not {text!r}"
            ) from None
        found.append((network.network_address.packed, network.prefixlen))
    return tuple(found)
