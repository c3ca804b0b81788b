"""The keys that sign our access tokens: a private JSON Web Key Set in a file, ES256.

    python -m gateway.keys create FILE      makes a set with one key, readable by its owner only

Every key has an id (`kid`, its RFC 7638 thumbprint), the time it was made (`iat`) and the time from which
it signs (`nbf`), both in seconds since 1970. All keys of the file are published; the one that became active
last signs. So a new key can be published before it signs (Envoy keeps the published set for a while, and
does not fetch it again for an unknown key), and an old one stays until the last token it signed has run
out.
"""

import argparse
import base64
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.clock import utc_now

ALGORITHM: Final = "ES256"
"""ECDSA on the curve P-256 with SHA-256 (RFC 7518)."""

_OWNER_ONLY: Final = 0o600


class KeyFileError(Exception):
    """The key file cannot be used; the text is a sentence for whoever runs the service."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key."""

    key_id: str
    """`kid`: what a token's header says."""
    private_key: ec.EllipticCurvePrivateKey
    """What signs."""
    public: Mapping[str, str]
    """The public JSON Web Key: kty, crv, x, y, kid, use, alg."""
    create_time: datetime
    """When it was made."""
    active_from: datetime
    """From when it signs, unless a later one does."""


class SigningKeys:
    """The keys of one file."""

    def __init__(self, keys: Sequence[SigningKey]) -> None:
        self._keys = tuple(sorted(keys, key=lambda key: key.active_from))

    @property
    def published(self) -> Sequence[Mapping[str, str]]:
        """The public keys, the one that is to sign last at the end."""
        return [key.public for key in self._keys]

    def at(self, now: datetime) -> SigningKey:
        """Return the key that signs at a moment.

        Raises:
            KeyFileError: None is active yet.
        """
        active = [key for key in self._keys if key.active_from <= now]
        if not active:
            raise KeyFileError("No signing key is active yet.")
        return active[-1]


def read(path: Path, *, now: datetime) -> SigningKeys:
    """Read a key file.

    Args:
        path: A private JSON Web Key Set.
        now: The present; one key has to be active.

    Raises:
        KeyFileError: It is not there, is none, or has no key that is active.
    """
    how = "Make one with `python -m gateway.keys create FILE`."
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["keys"]
        keys = SigningKeys([_key_from(entry) for entry in entries if entry.get("use") == "sig"])
    except OSError as error:
        raise KeyFileError(f"The file cannot be read ({error.strerror}). {how}") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, jwt.PyJWTError) as error:
        raise KeyFileError(f"The file is not a private JSON Web Key Set of P-256 keys. {how}") from error
    keys.at(now)
    return keys


def create(path: Path, *, now: datetime) -> str:
    """Make a file with one new key, which signs from `now`; only its owner may read it.

    Returns:
        The key's id.

    Raises:
        FileExistsError: There is a file already: tokens in use may be signed with its keys.
        OSError: It cannot be written.
    """
    private = _new_key(now)
    text = json.dumps({"keys": [private]}, indent=2) + "\n"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "w") as file:
        file.write(text)
    return str(private["kid"])


def _new_key(now: datetime) -> dict[str, Any]:
    private: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(
        ec.generate_private_key(ec.SECP256R1()), as_dict=True
    )
    seconds = int(now.timestamp())
    return {
        **private,
        "kid": _thumbprint(private),
        "use": "sig",
        "alg": ALGORITHM,
        "iat": seconds,
        "nbf": seconds,
    }


def _key_from(entry: Mapping[str, Any]) -> SigningKey:
    private_key = jwt.PyJWK(dict(entry), algorithm=ALGORITHM).key
    if not isinstance(private_key, ec.EllipticCurvePrivateKey) or not isinstance(
        private_key.curve, ec.SECP256R1
    ):
        raise TypeError("not a private key on the curve P-256")
    public: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
    key_id = str(entry.get("kid") or _thumbprint(public))
    return SigningKey(
        key_id=key_id,
        private_key=private_key,
        public={
            **{name: str(public[name]) for name in ("kty", "crv", "x", "y")},
            "kid": key_id,
            "use": "sig",
            "alg": ALGORITHM,
        },
        create_time=datetime.fromtimestamp(entry.get("iat", 0), UTC),
        active_from=datetime.fromtimestamp(entry.get("nbf", 0), UTC),
    )


def _thumbprint(key: Mapping[str, Any]) -> str:
    """Return a key's RFC 7638 thumbprint."""
    required = {name: key[name] for name in ("crv", "kty", "x", "y")}
    digest = hashlib.sha256(json.dumps(required, sort_keys=True, separators=(",", ":")).encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m gateway.keys", description="The keys of access tokens.")
    commands = parser.add_subparsers(dest="command", required=True)
    creating = commands.add_parser("create", help="make a file with one key")
    creating.add_argument("file", type=Path, help="what SIGNING_KEYS_FILE names; it must not exist")
    options = parser.parse_args(arguments)
    try:
        key_id = create(options.file, now=utc_now())
    except FileExistsError:
        print(f"{options.file} exists already, and is left as it is.", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{options.file} cannot be written: {error.strerror}.", file=sys.stderr)
        return 1
    print(f"{options.file} has a new signing key, {key_id}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
