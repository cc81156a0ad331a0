"""Values of `local.conf`, read or refused with words that name them."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping

from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig
from ztstack.vl1.policy import Subnet


def object_of(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise InvalidConfig(f"{what} is to be an object")
    return value


def section(root: Mapping[str, object], name: str) -> Mapping[str, object]:
    return object_of(root.get(name, {}), name)


def number(entry: Mapping[str, object], name: str) -> int:
    value = entry.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidConfig(f"{name} is a number that is not negative, not {value!r}")
    return value


def flag(entry: Mapping[str, object], name: str, *, default: bool) -> bool:
    value = entry.get(name, default)
    if not isinstance(value, bool):
        raise InvalidConfig(f"{name} is true or false, not {value!r}")
    return value


def texts(entry: Mapping[str, object], name: str) -> list[str]:
    value = entry.get(name, [])
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise InvalidConfig(f"{name} is a list of texts, not {value!r}")
    return value


def ip_of(text: str) -> bytes:
    try:
        return ipaddress.ip_address(text).packed
    except ValueError:
        raise InvalidConfig(f"not an IP address: {text!r}") from None


def endpoint_of(text: str) -> Endpoint:
    endpoint = Endpoint.parse(text)
    if not endpoint.port:
        raise InvalidConfig(f"the port is missing: {text!r}")
    return endpoint


def subnet_of(text: str) -> Subnet:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidConfig(f"a physical network is IP/BITS, not {text!r}") from None
    return network.network_address.packed, network.prefixlen


def text(entry: Mapping[str, object], name: str) -> str:
    value = entry.get(name, "")
    if not isinstance(value, str):
        raise InvalidConfig(f"{name} is a text, not {value!r}")
    return value


def refuse_unknown(entry: Mapping[str, object], known: Collection[str], what: str) -> None:
    """Name the keys that mean nothing, and those that would."""
    unknown = sorted(set(entry) - set(known))
    if unknown:
        raise InvalidConfig(
            f"{what}: unknown: {', '.join(unknown)}; known: {', '.join(sorted(known))}"
        )
