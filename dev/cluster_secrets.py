"""Makes the secrets that k8s/overlays/local refers to and prints them for kubectl. New ones at every call.

    TMDB_API_KEY=... python -m dev.cluster_secrets | kubectl create --filename -

For a cluster on one machine. A real one has its secrets from where it keeps them: docs/operations.md names
them.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dev.certificates import Authority
from gateway.keys import create

NAMESPACE: Final = "evening-popcorn"
MEMBERS: Final = ("edge", "gateway", "backlog-svc", "movie-svc", "game-svc")
"""Who has a certificate inside the mesh."""


def local_secrets(tmdb_api_key: str) -> Mapping[str, Mapping[str, bytes]]:
    """Returns every secret by its name, each with its keys and their values."""
    password = secrets.token_urlsafe(24)
    postgresql = f"postgresql://popcorn:{password}@postgresql:5432/popcorn"
    made: dict[str, dict[str, bytes]] = {
        "postgresql": {"password": password.encode()},
        "gateway-store": {"url": postgresql.encode()},
        "backlog-svc-store": {"url": postgresql.encode()},
        "movie-svc-store": {"url": b"mongodb://mongodb-0.mongodb:27017/popcorn?replicaSet=rs0"},
        "game-svc-store": {"url": b"redis://redis:6379/0"},
        "tmdb": {"key": tmdb_api_key.encode()},
        "signing-keys": {"signing-keys.json": _signing_keys()},
    }
    for name in ("gateway", "backlog-svc", "movie-svc", "game-svc"):
        made[f"{name}-page-tokens"] = {"key": secrets.token_urlsafe(32).encode()}
    authority = Authority("evening-popcorn local")
    for member in MEMBERS:
        issued = authority.issue(member, f"{member}.{NAMESPACE}.svc")
        made[f"{member}-certificate"] = {
            "tls.crt": issued.certificate,
            "tls.key": issued.key,
            "ca.crt": authority.certificate,
        }
    return made


def _signing_keys() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "signing-keys.json")
        create(file, now=datetime.now(UTC))
        return file.read_bytes()


def as_manifest(made: Mapping[str, Mapping[str, bytes]]) -> dict[str, Any]:
    """Returns secrets as a Kubernetes list."""
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "data": {key: base64.b64encode(value).decode() for key, value in values.items()},
            }
            for name, values in made.items()
        ],
    }


def main() -> int:
    """Prints the secrets."""
    key = os.environ.get("TMDB_API_KEY")
    if not key:
        print("TMDB_API_KEY is not set: TMDB's key, which films come with.", file=sys.stderr)
        return 2
    print(json.dumps(as_manifest(local_secrets(key)), indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
