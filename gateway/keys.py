"""The keys that sign our access tokens: a private JSON Web Key Set in a file, ES256.

    python -m gateway.keys create FILE      makes a set with one key, readable by its owner only
    python -m gateway.keys rotate FILE      adds a key, which signs later (--activate-after SECONDS)
    python -m gateway.keys retire FILE      takes those out whose last token has run out (--token-days DAYS)

Every key has an id (`kid`, its RFC 7638 thumbprint), the time it was made (`iat`) and the time from which
it signs (`nbf`), both in seconds since 1970. All keys of the file are published; the one that became active
last signs. So a new key can be published before it signs (Envoy keeps the published set for a while, and
does not fetch it again for an unknown key), and an old one stays until the last token it signed has run
out. Between publishing and signing there has to be more time than EDGE_KEYS_CACHE_SECONDS and the seconds
that every replica may take to notice that the file has changed.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Protocol

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.clock import Clock, utc_now

ALGORITHM: Final = "ES256"
"""ECDSA on the curve P-256 with SHA-256 (RFC 7518)."""

ACTIVATE_AFTER: Final = timedelta(minutes=5)
"""How long a new key is published before it signs."""

TOKEN_DAYS: Final = 30.0
"""How many days the longest-lived access token lives, unless ACCESS_TOKEN_DAYS says otherwise."""

_RELOAD_SECONDS: Final = 2.0
_OWNER_ONLY: Final = 0o600
_HOW: Final = "Make one with `python -m gateway.keys create FILE`."

_log = structlog.get_logger("gateway.keys")


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


class Keys(Protocol):
    """The keys of this moment."""

    @property
    def published(self) -> Sequence[Mapping[str, str]]:
        """The public keys, the one that is to sign last at the end."""
        ...

    def at(self, now: datetime) -> SigningKey:
        """Return the key that signs at a moment."""
        ...


class SigningKeys:
    """The keys of one file, as it was when it was read."""

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


class KeyFile:
    """The keys of a file that somebody may replace while we run. A newer one that is broken is only logged.

    Each replica looks by itself: a few hundred bytes, every two seconds.
    """

    def __init__(self, path: Path, *, clock: Clock = utc_now) -> None:
        """Read the file.

        Raises:
            KeyFileError: As `read`.
        """
        self._path = path
        self._clock = clock
        self._text = _text_of(path)
        self._keys = _keys_in(self._text, now=clock())

    @property
    def published(self) -> Sequence[Mapping[str, str]]:
        """The public keys, the one that is to sign last at the end."""
        return self._keys.published

    def at(self, now: datetime) -> SigningKey:
        """Return the key that signs at a moment. Raises KeyFileError when none is active."""
        return self._keys.at(now)

    def reload(self) -> None:
        """Take the file as it is now. One that cannot be used changes nothing."""
        try:
            text = _text_of(self._path)
            if text == self._text:
                return
            keys = _keys_in(text, now=self._clock())
        except KeyFileError as error:
            _log.error("keys.unusable", detail=str(error))
            return
        self._text, self._keys = text, keys
        _log.info("keys.reloaded", key_ids=[key["kid"] for key in keys.published])

    async def follow(self, *, seconds: float = _RELOAD_SECONDS) -> None:
        """Look for ever whether the file has changed."""
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.reload)


def read(path: Path, *, now: datetime) -> SigningKeys:
    """Read a key file.

    Args:
        path: A private JSON Web Key Set.
        now: The present; one key has to be active.

    Raises:
        KeyFileError: It is not there, is none, or has no key that is active.
    """
    return _keys_in(_text_of(path), now=now)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise KeyFileError(f"The file cannot be read ({error.strerror}). {_HOW}") from error
    except ValueError as error:
        raise KeyFileError(f"The file is not a private JSON Web Key Set of P-256 keys. {_HOW}") from error


def _keys_in(text: str, *, now: datetime) -> SigningKeys:
    try:
        entries = json.loads(text)["keys"]
        keys = SigningKeys([_key_from(entry) for entry in entries if entry.get("use") == "sig"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, jwt.PyJWTError) as error:
        raise KeyFileError(f"The file is not a private JSON Web Key Set of P-256 keys. {_HOW}") from error
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
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "w") as file:
        file.write(_rendered([private]))
    return str(private["kid"])


def rotate(path: Path, *, now: datetime, activate_after: timedelta = ACTIVATE_AFTER) -> str:
    """Add a key to a file: published as soon as the replicas notice, and signing later.

    Args:
        path: The file; it is replaced in one step.
        now: The present.
        activate_after: When the new key begins to sign: once every edge is sure to have it.

    Returns:
        The new key's id.

    Raises:
        KeyFileError: The file cannot be used.
        OSError: It cannot be written.
    """
    entries = _entries(path, now=now)
    private = {**_new_key(now), "nbf": int((now + activate_after).timestamp())}
    _replace(path, [*entries, private])
    return str(private["kid"])


def retire(path: Path, *, now: datetime, token_lifetime: timedelta) -> Sequence[str]:
    """Take the keys out of a file whose last token has run out.

    Args:
        path: The file; it is replaced in one step, or left alone when there is nothing to take out.
        now: The present.
        token_lifetime: How long an access token lives at most.

    Returns:
        The ids of the keys that have gone.

    Raises:
        KeyFileError: The file cannot be used.
        OSError: It cannot be written.
    """
    entries = sorted(_entries(path, now=now), key=lambda entry: _active_from(entry))
    # A key signs until the next one does.
    gone = [
        entry for entry, successor in pairwise(entries) if _active_from(successor) + token_lifetime <= now
    ]
    if gone:
        _replace(path, [entry for entry in entries if entry not in gone])
    return [_key_from(entry).key_id for entry in gone]


def _entries(path: Path, *, now: datetime) -> list[dict[str, Any]]:
    """Return what a file holds, once it is known that it can be used."""
    text = _text_of(path)
    _keys_in(text, now=now)
    return [entry for entry in json.loads(text)["keys"] if entry.get("use") == "sig"]


def _active_from(entry: Mapping[str, Any]) -> datetime:
    return datetime.fromtimestamp(entry.get("nbf", 0), UTC)


def _replace(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Put a file in the place of another in one step: whoever reads sees the one or the other."""
    # mkstemp's file is its owner's only.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(_rendered(entries))
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _rendered(entries: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps({"keys": list(entries)}, indent=2) + "\n"


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
        active_from=_active_from(entry),
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
    rotating = commands.add_parser("rotate", help="add a key, which is published now and signs later")
    rotating.add_argument("file", type=Path, help="what SIGNING_KEYS_FILE names")
    rotating.add_argument(
        "--activate-after",
        type=float,
        default=ACTIVATE_AFTER.total_seconds(),
        metavar="SECONDS",
        help="until it signs; more than EDGE_KEYS_CACHE_SECONDS and ten seconds (default: %(default)g)",
    )
    retiring = commands.add_parser("retire", help="take out the keys whose last token has run out")
    retiring.add_argument("file", type=Path, help="what SIGNING_KEYS_FILE names")
    retiring.add_argument(
        "--token-days",
        type=float,
        default=TOKEN_DAYS,
        metavar="DAYS",
        help="ACCESS_TOKEN_DAYS, the most it has been (default: %(default)g)",
    )
    options = parser.parse_args(arguments)
    try:
        said = _run(options)
    except FileExistsError:
        problem = "exists already, and is left as it is"
    except KeyFileError as error:
        problem = f"is not usable: {str(error).rstrip('.')}"
    except OSError as error:
        problem = f"cannot be written: {error.strerror}"
    else:
        print(f"{options.file} {said}.")
        return 0
    print(f"{options.file} {problem}.", file=sys.stderr)
    return 1


def _run(options: argparse.Namespace) -> str:
    """Do what a command asks for, and return what to say about the file."""
    now = utc_now()
    match options.command:
        case "create":
            return f"has a new signing key, {create(options.file, now=now)}"
        case "rotate":
            after = timedelta(seconds=options.activate_after)
            key_id = rotate(options.file, now=now, activate_after=after)
            return f"has one more signing key, {key_id}, which signs in {options.activate_after:g} s"
        case _:
            lifetime = timedelta(days=options.token_days)
            gone = retire(options.file, now=now, token_lifetime=lifetime)
            return f"has lost {len(gone)} signing key(s){': ' if gone else ''}{', '.join(gone)}"


if __name__ == "__main__":
    raise SystemExit(main())
