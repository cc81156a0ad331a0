"""zt identity: what is made elsewhere is taken over, and what is signed is known elsewhere."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.support.cli import Zt
from tests.support.vectors import load
from ztcli.exit_codes import ExitCode

SECRETS = [case["secret"] for case in load("identity.json")["cases"] if case["kind"] == "valid"]


def state_of(zt: Zt) -> Path:
    return zt.home / ".local" / "state" / "zt" / "default"


@pytest.mark.parametrize("by_file", [False, True])
def test_import_and_export(zt: Zt, tmp_path: Path, by_file: bool) -> None:
    secret = SECRETS[0]
    node = secret[:10]
    file = tmp_path / "given"
    file.write_text(secret + "\n")
    if by_file:
        result = zt("identity", "import", str(file))
    else:
        result = zt("identity", "import", "-", stdin=file.read_bytes())
    assert (result.code, result.stdout.decode()) == (0, f"{node}\n"), result.stderr
    kept = state_of(zt) / "identity.secret"
    assert kept.read_text() == secret
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert zt("identity", "export").stdout.decode() == f"{secret}\n"
    public = ":".join(secret.split(":")[:3])
    assert zt("identity", "export", "--public").stdout.decode() == f"{public}\n"


def test_import_keeps_what_was_there(zt: Zt) -> None:
    assert zt("identity", "import", "-", stdin=SECRETS[0].encode()).code == 0
    refused = zt("identity", "import", "-", stdin=SECRETS[1].encode())
    assert refused.code == ExitCode.USAGE
    assert "--force" in refused.stderr
    assert zt("identity", "export").stdout.decode() == f"{SECRETS[0]}\n"
    assert zt("identity", "import", "-", "--force", stdin=SECRETS[1].encode()).code == 0
    assert zt("identity", "export").stdout.decode() == f"{SECRETS[1]}\n"
    assert (state_of(zt) / "identity.secret.old").read_text() == SECRETS[0]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "address:0:public key"),
        (SECRETS[0].rpartition(":")[0], "private key"),
        ("a" + SECRETS[0][1:], "does not have the address"),
        (SECRETS[0].rpartition(":")[0] + ":" + SECRETS[1].rpartition(":")[2], "does not belong"),
        ("\xff", "not an identity"),
    ],
    ids=["empty", "public", "address", "another key", "binary"],
)
def test_import_refuses(zt: Zt, text: str, word: str) -> None:
    result = zt("identity", "import", "-", stdin=text.encode("latin-1"))
    assert result.code == ExitCode.BAD_IDENTITY
    assert word in result.stderr
    assert not (state_of(zt) / "identity.secret").exists()


def test_sign_and_verify(zt: Zt, tmp_path: Path) -> None:
    zt("identity", "import", "-", stdin=SECRETS[0].encode())
    message = tmp_path / "message"
    message.write_bytes(b"what was said")
    signature = zt("identity", "sign", str(message)).stdout.decode().strip()
    assert zt("identity", "sign", "-", stdin=b"what was said").stdout.decode().strip() == signature
    node = SECRETS[0][:10]
    other = Zt(tmp_path / "other")
    public = tmp_path / "public"
    public.write_text(":".join(SECRETS[0].split(":")[:3]))
    verify = ("identity", "verify", str(message), signature, "--by", str(public))
    result = other(*verify)
    assert (result.code, result.stdout.decode()) == (0, f"signed by {node}\n"), result.stderr
    assert json.loads(other(*verify, "--json").stdout)["node"] == node
    message.write_bytes(b"what was not said")
    refused = other(*verify)
    assert refused.code == ExitCode.BAD_IDENTITY
    assert f"not signed by {node}" in refused.stderr
    assert zt("identity", "verify", str(message), "no hex").code == ExitCode.USAGE


@pytest.mark.parametrize(
    "case", [case for case in load("agree_sign.json")["cases"] if case["kind"] == "sign"][:4]
)
def test_official_signatures(zt: Zt, case: dict[str, str]) -> None:
    """The official tool's signatures are ours."""
    zt("identity", "import", "-", stdin=case["secret"].encode())
    result = zt("identity", "sign", "-", stdin=bytes.fromhex(case["message"]))
    assert result.stdout.decode().strip() == case["signature"]
