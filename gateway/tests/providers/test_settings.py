"""What the gateway is told about Google and Apple: all of it or nothing, and never quoted."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from gateway.__main__ import see_that_apple_key_is_usable
from gateway.settings import GatewaySettings, pairs
from gateway.tests.conftest import make_settings
from mesh.settings import sentences

PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)
SEALING = f"a:{base64.b64encode(b'k' * 32).decode()}"
TEAM: dict[str, Any] = {
    "apple_team_id": "TEAM",
    "apple_key_id": "KEY",
    "apple_private_key": PEM,
    "apple_token_keys": SEALING,
}


def complaint(**settings: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        make_settings(**settings)
    return sentences(GatewaySettings, caught.value)


def test_a_team_is_described_wholly_or_not_at_all() -> None:
    make_settings()
    make_settings(**TEAM)
    make_settings(**{**TEAM, "apple_private_key": "", "apple_private_key_file": Path("key.p8")})
    for missing in TEAM:
        [sentence] = complaint(**{name: value for name, value in TEAM.items() if name != missing})
        assert sentence.startswith("APPLE_TEAM_ID, APPLE_KEY_ID, APPLE_TOKEN_KEYS and one of")
    assert complaint(**TEAM, apple_private_key_file=Path("key.p8"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("apple_private_key", "not a key"),
        ("apple_token_keys", "no-colon"),
        ("apple_token_keys", "a:c2hvcnQ="),
        ("google_client_secrets", "no-equals-sign"),
        ("google_client_secrets", "mine="),
    ],
)
def test_what_is_not_usable_is_named_and_not_quoted(name: str, value: str) -> None:
    [sentence] = complaint(**{**TEAM, name: value})
    assert sentence.startswith(f"{name.upper()} is not usable")
    assert value not in sentence


def test_secrets_of_clients_may_hold_equals_signs() -> None:
    settings = make_settings(google_client_secrets="web=a=b==, other=c")
    assert pairs(settings.google_client_secrets) == {"web": "a=b==", "other": "c"}


def test_a_key_file_that_is_none_ends_the_process_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "key.p8"
    settings = make_settings(**{**TEAM, "apple_private_key": "", "apple_private_key_file": file})
    with pytest.raises(SystemExit) as caught:
        see_that_apple_key_is_usable(settings)
    assert caught.value.code == 2
    file.write_text("secret words")
    with pytest.raises(SystemExit):
        see_that_apple_key_is_usable(settings)
    said = capsys.readouterr().err
    assert said.splitlines() == [
        "APPLE_PRIVATE_KEY_FILE is not usable: No such file or directory.",
        "APPLE_PRIVATE_KEY_FILE is not usable: it is not a private key in PEM without a password.",
    ]
    file.write_text(PEM)
    see_that_apple_key_is_usable(settings)
