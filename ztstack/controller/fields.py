"""Reads typed fields of JSON objects; InvalidConfig names the field that is wrong."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final

from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig

Json = Mapping[str, object]
Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

UINT32_MAX: Final = 0xFFFF_FFFF
UINT63_MAX: Final = (1 << 63) - 1


def text(data: Json, key: str, default: str | None = None) -> str:
    value = data.get(key, default)
    if not isinstance(value, str):
        raise InvalidConfig(f"{key}: a text is needed")
    check_unicode(value, key)
    return value


def check_unicode(value: str, key: str) -> None:
    """Refuse halves of surrogate pairs: JSON can write them, and nothing else."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidConfig(f"{key}: is not Unicode") from None


def whole(data: Json, key: str, default: int) -> int:
    """Return a whole number of any size."""
    value: object = data.get(key, default)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON knows one kind of number, and 1.0 is a whole one.
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidConfig(f"{key}: a whole number is needed")
    return value


def number(data: Json, key: str, default: int, limits: tuple[int, int] = (0, UINT32_MAX)) -> int:
    value = whole(data, key, default)
    low, high = limits
    if not low <= value <= high:
        raise InvalidConfig(f"{key}: a number from {low} to {high} is needed")
    return value


def optional_number(data: Json, key: str) -> int | None:
    return None if data.get(key) is None else number(data, key, 0)


def flag(data: Json, key: str, *, default: bool) -> bool:
    value = data.get(key, default)
    if not isinstance(value, bool):
        raise InvalidConfig(f"{key}: true or false is needed")
    return value


def nested(data: Json, key: str) -> Json:
    """Return an object; an empty list stands for an empty one, as the official controller does."""
    value = data.get(key, {})
    if value == []:
        return {}
    if not isinstance(value, dict):
        raise InvalidConfig(f"{key}: an object is needed")
    return value


def objects(data: Json, key: str) -> list[Json]:
    value = data.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidConfig(f"{key}: a list of objects is needed")
    return value


def numbers(data: Json, key: str) -> tuple[int, ...]:
    value = data.get(key, [])
    if not isinstance(value, list):
        raise InvalidConfig(f"{key}: a list of numbers is needed")
    return tuple(number({key: item}, key, 0) for item in value)


def pairs(data: Json, key: str) -> tuple[tuple[int, int], ...]:
    value = data.get(key, [])
    if not isinstance(value, list):
        raise InvalidConfig(f"{key}: a list of pairs is needed")
    found = [numbers({key: item}, key) for item in value]
    if any(len(pair) != 2 for pair in found):
        raise InvalidConfig(f"{key}: a list of pairs is needed")
    return tuple((pair[0], pair[1]) for pair in found)


def texts(data: Json, key: str) -> list[str]:
    value = data.get(key, [])
    if not isinstance(value, list):
        raise InvalidConfig(f"{key}: a list of texts is needed")
    return [text({key: item}, key) for item in value]


def ip(value: str, key: str) -> Ip:
    """Parse an address that is the same on every machine: one without a zone."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise InvalidConfig(f"{key}: {value!r} is not an IP address") from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise InvalidConfig(f"{key}: {value!r} has a zone")
    return address


def ips(data: Json, key: str) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(ip(value, key).packed for value in texts(data, key)))


def node(data: Json, key: str) -> Address | None:
    """Return a node's address; None and an empty text are none."""
    value = data.get(key)
    if value is None or value == "":
        return None
    try:
        return Address.parse(text(data, key))
    except InvalidConfig as error:
        raise InvalidConfig(f"{key}: {error}") from None
