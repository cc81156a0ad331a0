"""A controller's records in files: one JSON object each, replaced as a whole.

A kill at any moment leaves each record as it was before a change or after it, so a copy of the
folder is a backup. What cannot be read is moved to `damaged` beside the records, and said.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ztstack.aio.storage import write_atomically
from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig, StorageError
from ztstack.base.network_id import NetworkId
from ztstack.controller.fields import Json
from ztstack.controller.model import MemberRecord, NetworkRecord

_FILE_LIMIT: Final = 16 << 20
_SUFFIX: Final = ".json"
_log = logging.getLogger("ztstack")


class FileStore:
    """Keeps `network/<id>.json` and `network/<id>/member/<address>.json` below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "network"
        self._damaged = folder / "damaged"

    def load(self) -> list[tuple[NetworkRecord, list[MemberRecord]]]:
        """Read all records; StorageError names the file that the system does not let us read."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = [(network, self._load_members(network.id)) for network in self._load_networks()]
            self._set_orphans_aside({str(network.id) for network, _ in found})
        except OSError as error:
            raise StorageError(f"{error.filename}: {error.strerror}") from error
        return found

    def _load_networks(self) -> Iterator[NetworkRecord]:
        for path in _records(self._folder):
            try:
                record = NetworkRecord.from_json(_read(path))
                if str(record.id) != path.stem:
                    raise InvalidConfig(f"holds the network {record.id}")
            except InvalidConfig as error:
                self._set_aside(path, str(error))
            else:
                yield record

    def _load_members(self, network: NetworkId) -> list[MemberRecord]:
        found = []
        for path in _records(self._members(network)):
            try:
                record = MemberRecord.from_json(_read(path))
                if str(record.address) != path.stem:
                    raise InvalidConfig(f"holds the member {record.address}")
            except InvalidConfig as error:
                self._set_aside(path, str(error))
            else:
                found.append(record)
        return found

    def _set_orphans_aside(self, known: set[str]) -> None:
        """Move members away whose network is gone: a new one of that id must not have them."""
        for path in sorted(self._folder.iterdir()):
            if path.is_dir() and path.name not in known:
                if any(path.rglob(f"*{_SUFFIX}")):
                    self._set_aside(path, "has members of a network that is not here")
                else:
                    _remove_folders(path)

    def _set_aside(self, path: Path, why: str) -> None:
        """Keep what cannot be used out of the way, where nothing overwrites it."""
        self._damaged.mkdir(mode=0o700, exist_ok=True)
        name, number = "-".join(path.relative_to(self._folder).parts), 0
        while (kept := self._damaged / f"{name}.{number}").exists():
            number += 1
        path.rename(kept)
        _log.warning("%s: %s; kept as %s", path, why, kept)

    def _members(self, network: NetworkId) -> Path:
        return self._folder / str(network) / "member"

    def save_network(self, network: NetworkRecord) -> None:
        _write(self._folder / f"{network.id}{_SUFFIX}", network.to_json())

    def save_member(self, network: NetworkId, member: MemberRecord) -> None:
        path = self._members(network) / f"{member.address}{_SUFFIX}"
        _write(path, member.to_json(network))

    def delete_member(self, network: NetworkId, address: Address) -> None:
        with _told():
            (self._members(network) / f"{address}{_SUFFIX}").unlink(missing_ok=True)

    def delete_network(self, network: NetworkId) -> None:
        """Delete a record, then the members; a kill in between leaves members without a network."""
        with _told():
            (self._folder / f"{network}{_SUFFIX}").unlink(missing_ok=True)
            for path in self._members(network).glob("*"):
                path.unlink(missing_ok=True)
            _remove_folders(self._folder / str(network))


def _records(folder: Path) -> list[Path]:
    """Return the records of a folder; remove what writes that were killed left there."""
    if not folder.is_dir():
        return []
    for path in folder.glob(f".*{_SUFFIX}.*"):
        path.unlink(missing_ok=True)
    return sorted(path for path in folder.glob(f"*{_SUFFIX}") if not path.name.startswith("."))


def _remove_folders(folder: Path) -> None:
    for path in (folder / "member", folder):
        with contextlib.suppress(OSError):
            path.rmdir()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{error.filename}: {error.strerror}") from error


def _read(path: Path) -> Json:
    with path.open("rb") as stream:
        text = stream.read(_FILE_LIMIT)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidConfig("is not JSON") from None
    if not isinstance(data, dict):
        raise InvalidConfig("is not a JSON object")
    return data


def _write(path: Path, data: dict[str, object]) -> None:
    with _told():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, json.dumps(data, indent=1).encode() + b"\n")
