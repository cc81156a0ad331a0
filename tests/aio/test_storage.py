from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.vectors import load
from tests.support.vl2 import ALICE
from ztstack.aio.machine import fingerprint
from ztstack.aio.storage import Storage, read_identity, write_atomically
from ztstack.base.errors import IdentityError, StateInUse
from ztstack.base.network_id import NetworkId
from ztstack.crypto.identity import Identity

SECRET = next(c["secret"] for c in load("identity.json")["cases"] if c["kind"] == "valid")
NETWORK = NetworkId.parse("8056c2e21c000001")


def opened(folder: Path) -> Storage:
    storage = Storage(folder / "state")
    storage.open()
    return storage


def test_an_identity_is_kept_with_the_rights_it_needs(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    assert storage.load_identity() is None
    identity = Identity.parse(SECRET)
    storage.save_identity(identity)
    assert storage.load_identity() == identity
    assert (storage.folder / "identity.secret").stat().st_mode & 0o777 == 0o600
    assert (storage.folder / "identity.public").read_text() == identity.public_text()
    assert storage.folder.stat().st_mode & 0o777 == 0o700
    storage.close()


def test_an_identity_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "identity.secret"
    path.write_text(SECRET)
    path.chmod(0o644)
    with pytest.raises(IdentityError, match="chmod 600"):
        read_identity(path)
    assert read_identity(path, insecure=True) == Identity.parse(SECRET)


@pytest.mark.parametrize("text", ["", "nonsense", SECRET[:-1], SECRET.rsplit(":", 1)[0], "\x00"])
def test_a_broken_identity_names_its_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "identity.secret"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(IdentityError, match=r"identity\.secret"):
        read_identity(path)


def test_an_identity_with_another_address_is_refused(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    address = f"{int(SECRET[:10], 16) ^ 1:010x}"
    path = storage.folder / "identity.secret"
    path.write_text(address + SECRET[10:])
    path.chmod(0o600)
    with pytest.raises(IdentityError, match=r"identity\.secret"):
        storage.load_identity()
    storage.close()


def test_a_second_process_learns_who_holds_the_state(tmp_path: Path) -> None:
    first = opened(tmp_path)
    second = Storage(first.folder)
    with pytest.raises(StateInUse, match=str(os.getpid())):
        second.open()
    first.close()
    second.open()
    second.close()


def test_networks_are_remembered(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    assert storage.networks() == []
    storage.save_network(NETWORK, b"v=7")
    (storage.folder / "networks.d" / "nonsense.conf").write_bytes(b"x")
    assert storage.networks() == [NETWORK]
    assert storage.load_network(NETWORK) == b"v=7"
    storage.close()


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    storage.close()
    (storage.folder / ".planet.half").write_bytes(b"half")
    storage.open()
    assert not (storage.folder / ".planet.half").exists()
    storage.close()


def test_a_failed_write_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_copy_on_another_machine_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Storage(tmp_path / "state")
    storage.open()
    storage.save_identity(ALICE)
    storage.check_machine()
    assert caplog.messages == []
    kept = storage.folder / "machine.fp"
    if not fingerprint():
        # A machine without an id cannot be told from another.
        assert not kept.exists()
        return
    assert kept.read_bytes() == fingerprint()
    kept.write_bytes(b"0" * 32)
    storage.check_machine()
    (message,) = caplog.messages
    assert "comes from another machine" in message
    assert str(kept) in message
    # Whoever makes a new one, or says that it was moved, hears no more of it.
    storage.save_identity(ALICE)
    storage.check_machine()
    kept.unlink()
    storage.check_machine()
    storage.close()
    assert len(caplog.messages) == 1
