"""A controller's records in files: one JSON object each, replaced as a whole."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Final

from ztstack.aio.storage import write_atomically
from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig, StorageError
from ztstack.base.network_id import NetworkId
from ztstack.controller.model import Json, MemberRecord, NetworkRecord

_FILE_LIMIT: Final = 1 << 20


class FileStore:
    """Keeps `network/<id>.json` and `network/<id>/member/<address>.json` below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "network"

    def load(self) -> list[tuple[NetworkRecord, list[MemberRecord]]]:
        """Read all records; StorageError names the file that cannot be read."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self._folder}: {error.strerror}") from error
        found = []
        for path in sorted(self._folder.glob("*.json")):
            if path.name.startswith("."):
                continue  # Left over from a write that was killed.
            network = self._network(path)
            members = [
                self._member(member)
                for member in sorted(self._members(network.id).glob("*.json"))
                if not member.name.startswith(".")
            ]
            found.append((network, members))
        return found

    def _network(self, path: Path) -> NetworkRecord:
        try:
            record = NetworkRecord.from_json(_read(path))
        except InvalidConfig as error:
            raise StorageError(f"{path}: {error}") from None
        if str(record.id) != path.stem:
            raise StorageError(f"{path}: holds the network {record.id}")
        return record

    def _member(self, path: Path) -> MemberRecord:
        try:
            record = MemberRecord.from_json(_read(path))
        except InvalidConfig as error:
            raise StorageError(f"{path}: {error}") from None
        if str(record.address) != path.stem:
            raise StorageError(f"{path}: holds the member {record.address}")
        return record

    def _members(self, network: NetworkId) -> Path:
        return self._folder / str(network) / "member"

    def save_network(self, network: NetworkRecord) -> None:
        _write(self._folder / f"{network.id}.json", network.to_json())

    def save_member(self, network: NetworkId, member: MemberRecord) -> None:
        path = self._members(network) / f"{member.address}.json"
        _write(path, member.to_json(network))

    def delete_member(self, network: NetworkId, address: Address) -> None:
        (self._members(network) / f"{address}.json").unlink(missing_ok=True)

    def delete_network(self, network: NetworkId) -> None:
        # First the record: a kill in between leaves members that nothing refers to.
        (self._folder / f"{network}.json").unlink(missing_ok=True)
        for path in self._members(network).glob("*.json"):
            path.unlink(missing_ok=True)
        for folder in (self._members(network), self._folder / str(network)):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _read(path: Path) -> Json:
    try:
        with path.open("rb") as stream:
            data = json.loads(stream.read(_FILE_LIMIT))
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    except ValueError:
        raise StorageError(f"{path}: is not JSON") from None
    if not isinstance(data, dict):
        raise StorageError(f"{path}: is not a JSON object")
    return data


def _write(path: Path, data: dict[str, object]) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, json.dumps(data, indent=1).encode() + b"\n")
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
