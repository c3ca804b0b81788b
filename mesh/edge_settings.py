"""Settings of the edge: what `envoy/envoy.yaml.j2` is rendered with."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, FilePath, model_validator

from mesh.settings import CommaSeparated, Settings

_ROOT: Final = Path(__file__).resolve().parent.parent
_TARGET = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?")


def _from_the_repository(path: object) -> object:
    return _ROOT / path if isinstance(path, (str, Path)) else path


def split_target(target: str) -> tuple[str, int]:
    """Return host and port of `host:port` or `[v6]:port`.

    Raises:
        ValueError: It looks like neither.
    """
    match = _TARGET.fullmatch(target)
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise ValueError("it should look like gateway:9000, several with commas between them")
    return match["v6"] or match["name"], int(match["port"])


def is_address(host: str) -> bool:
    """Return whether a host is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _targets(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("it should name at least one replica")
    for value in values:
        split_target(value)
    return values


def _origins(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if value != "*" and _ORIGIN.fullmatch(value) is None:
            raise ValueError("it should look like https://app.example.com, several with commas between them")
    return values


def _address(value: str) -> str:
    if not is_address(value):
        raise ValueError("it should be an IP address")
    return value


Targets = Annotated[CommaSeparated, AfterValidator(_targets)]
Origins = Annotated[CommaSeparated, AfterValidator(_origins)]
Address = Annotated[str, AfterValidator(_address)]
PerMinute = Annotated[int, Field(ge=1, le=1_000_000)]


class EdgeSettings(Settings):
    """What the edge reads."""

    edge_port: int = Field(default=8080, ge=1, le=65535)
    """The port that the edge listens on: REST, gRPC-Web and gRPC."""
    edge_bind: Address = "0.0.0.0"  # noqa: S104 - the public door; `make up` binds it to loopback
    """The address that the edge listens on."""
    edge_reuse_port: bool = False
    """Whether several edges may share the port (SO_REUSEPORT). Off: a second one on a machine is refused."""
    edge_admin_port: int | None = Field(default=None, ge=1, le=65535)
    """A loopback port for Envoy's admin pages and statistics. Empty: there are none."""
    edge_tls_certificate_file: FilePath | None = None
    """Certificate chain (PEM) to serve TLS with. Empty: plain text, as behind a load balancer."""
    edge_tls_key_file: FilePath | None = None
    """The private key (PEM) of the certificate."""
    edge_trusted_hops: int = Field(default=0, ge=0, le=5)
    """How many proxies in front of the edge tell the truth in X-Forwarded-For."""
    gateway_target: Targets
    """Where the gateway is: host:port, several with commas between them; a name is all its addresses."""
    game_target: Targets
    """Where game_svc is: host:port, several with commas between them; a name is all its addresses."""
    token_issuer: str = Field(min_length=1)
    """Who issues access tokens: the claim `iss`."""
    token_audience: str = Field(min_length=1)
    """Whom access tokens are for: the claim `aud`."""
    access_token_days: int = Field(default=30, ge=1, le=366)
    """How many days an access token works. Longer-lived ones are refused, whoever signed them."""
    cors_origins: Origins = ()
    """Web origins that browsers may call from: https://app.example.com, with commas between several, or *."""
    edge_sign_ins_per_minute: PerMinute = 60
    """How often a minute one client address may sign in or link an identity. Many phones share an address."""
    edge_guests_per_minute: PerMinute = 30
    """How often a minute one client address may sign in as a guest."""
    edge_refreshes_per_minute: PerMinute = 120
    """How often a minute one client address may refresh sessions."""
    edge_joins_per_minute: PerMinute = 60
    """How often a minute one client address may try a room's code."""
    edge_notifications_per_minute: PerMinute = 600
    """How often a minute one client address may deliver notifications of Apple's."""
    edge_imports_per_minute: PerMinute = 30
    """How often a minute one client address may hand in a list to import."""
    edge_max_body_bytes: int = Field(default=1_048_576, ge=1024, le=67_108_864)
    """The longest request body of a call with one message, in bytes."""
    edge_max_connections: int = Field(default=20_000, ge=10)
    """How many client connections there may be at once."""
    edge_max_heap_mib: int = Field(default=512, ge=64)
    """Memory in MiB: beyond 95 % of it new requests are refused with 503."""
    edge_health_seconds: float = Field(default=5.0, ge=0.1, le=60)
    """How often each replica is asked whether it serves, in seconds."""
    edge_keys_cache_seconds: int = Field(default=60, ge=2, le=3600)
    """How many seconds the edge keeps the token keys. A new key is published that long before it signs."""
    edge_traced_percent: float = Field(default=10.0, ge=0, le=100)
    """Of how many requests in a hundred there are traces, where OTLP_ENDPOINT is set."""
    edge_descriptor_set: Annotated[FilePath, BeforeValidator(_from_the_repository)] = Field(
        default=Path("gen/popcorn.binpb"), validate_default=True
    )
    """The contract's descriptor set, as the path that Envoy reads it from; a relative one begins here."""

    @model_validator(mode="after")
    def _both_halves_of_tls(self) -> EdgeSettings:
        if (self.edge_tls_certificate_file is None) != (self.edge_tls_key_file is None):
            raise ValueError("EDGE_TLS_CERTIFICATE_FILE and EDGE_TLS_KEY_FILE go together")
        return self
