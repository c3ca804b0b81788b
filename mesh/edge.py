"""Renders Envoy's configuration: `python -m mesh.edge --folder FOLDER`, or to standard output.

A folder gets all that Envoy reads: `envoy.yaml`, the contract's descriptor set, and where TLS is set one
small file a secret that says where its PEM files are.

The template says how the edge works, the settings where it runs, and the contract's descriptor set which
methods there are. This module brings the three together and decides nothing that one of them could say.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import jinja2
from google.protobuf import any_pb2, descriptor_pb2
from google.rpc import error_details_pb2, status_pb2

from mesh.edge_settings import EdgeSettings, is_address, split_target
from mesh.errors import DOMAIN
from mesh.identity import IDENTITY_HEADER
from mesh.settings import load
from popcorn.options.v1 import options_pb2

TEMPLATE: Final = Path(__file__).resolve().parent.parent / "envoy" / "envoy.yaml.j2"

PUBLIC_SERVICES: Final[Mapping[str, str]] = {
    "popcorn.gateway.v1.AuthService": "gateway",
    "popcorn.gateway.v1.AccountService": "gateway",
    "popcorn.gateway.v1.LibraryService": "library",
    "popcorn.game.v1.GameService": "game",
}
"""The services that the edge lets in, each with the cluster that its unary methods go to."""

KEYS_METHOD: Final = "/popcorn.gateway.v1.AuthService/GetJwks"


@dataclass(frozen=True, slots=True)
class Page:
    """A file that the edge shows to anybody."""

    path: str
    """Where."""
    file: str
    """Its name, in the folder of the descriptor set that it was made of."""
    content_type: str
    policy: str
    """Its Content-Security-Policy."""


PAGES: Final = (
    Page(
        path="/docs",
        file="docs.html",
        content_type="text/html; charset=utf-8",
        policy="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
    ),
    Page(
        path="/openapi.json",
        file="openapi.json",
        content_type="application/json",
        policy="default-src 'none'; frame-ancestors 'none'",
    ),
)
"""The API's documentation."""

ONLY_OURS: Final = (IDENTITY_HEADER, "x-envoy-original-path", "x-envoy-original-method")
"""Request headers that mean something to the edge or to the services, and that no client may set."""

_LIMITS: Final[Mapping[str, str]] = {
    "/popcorn.gateway.v1.AuthService/SignIn": "sign_ins",
    "/popcorn.gateway.v1.AuthService/SignInAsGuest": "guests",
    "/popcorn.gateway.v1.AuthService/RefreshSession": "refreshes",
    "/popcorn.gateway.v1.AuthService/ReceiveAppleNotification": "notifications",
    "/popcorn.gateway.v1.AccountService/LinkIdentity": "sign_ins",
    "/popcorn.gateway.v1.LibraryService/ImportBacklog": "imports",
    "/popcorn.game.v1.GameService/JoinGame": "joins",
}
"""The methods that one address may only call so often, with the setting `edge_<name>_per_minute`."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How often one client address may call a method."""

    name: str
    """Which limit, in statistics."""
    per_minute: int
    """Calls a minute; as many at once."""

    @property
    def retry_after(self) -> int:
        """Seconds until another call is let through, rounded up."""
        return -(-60 // self.per_minute)


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the contract that the edge lets in."""

    path: str
    """`/package.Service/Method`."""
    cluster: str
    """Which cluster serves it."""
    public: bool
    """Whether it is called without a token."""
    repeatable: bool
    """Whether calling it twice does what calling it once does."""
    streams_up: bool
    streams_down: bool
    limit: Limit | None = None

    @property
    def streams(self) -> bool:
        """Whether it has more than one message in either direction."""
        return self.streams_up or self.streams_down


@dataclass(frozen=True, slots=True)
class Target:
    """Where a replica, or a name of several, is."""

    host: str
    port: int

    @property
    def is_address(self) -> bool:
        """Whether it is an address rather than a name."""
        return is_address(self.host)

    @property
    def san_type(self) -> str:
        """As what a certificate names the host."""
        return "IP_ADDRESS" if is_address(self.host) else "DNS"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Replicas that serve some of the methods."""

    name: str
    comment: str
    service: str
    """Whose health, by gRPC's health protocol, decides."""
    targets: tuple[Target, ...]
    max_requests: int
    """How many calls may run at once; a stream is a call."""
    by_room: bool = False
    """Whether calls about one room go to one replica."""

    @property
    def static(self) -> bool:
        """Whether all targets are addresses, so that nothing has to be looked up."""
        return all(is_address(target.host) for target in self.targets)


# What a grpc-message may hold as it is: printable ASCII except the percent sign.
_PLAIN: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of Envoy's own, in our words.

    In gRPC it is a status with details; in REST the JSON of the same google.rpc.Status.
    """

    name: str
    """What has happened, for whoever reads the rendered file."""
    when: str
    """Which of Envoy's answers: a condition in CEL on `response.code` and `response.code_details`."""
    reason: str
    """ErrorInfo's reason."""
    message: str
    """A sentence for the developer of a client."""
    code: int
    """google.rpc.Code in REST."""
    answers: int | None = None
    """The HTTP status in REST, where it is not Envoy's."""
    grpc_code: int = -1
    """google.rpc.Code in gRPC, where it is not the same."""
    shows_cause: bool = False
    """Whether Envoy's own words are of use to the client; they go into the metadata in REST."""

    def __post_init__(self) -> None:
        if self.grpc_code < 0:
            object.__setattr__(self, "grpc_code", self.code)

    @property
    def grpc_details(self) -> str:
        """The google.rpc.Status as gRPC carries it: base64 without padding."""
        info = any_pb2.Any()
        info.Pack(error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN))
        status = status_pb2.Status(code=self.grpc_code, message=self.message, details=[info])
        return base64.b64encode(status.SerializeToString()).decode().rstrip("=")

    @property
    def grpc_web(self) -> str:
        """A whole gRPC-Web answer, base64: one frame of trailers (flag 0x80, length, lines)."""
        lines = (
            f"grpc-status:{self.grpc_code}\r\n"
            f"grpc-message:{quote(self.message, safe=_PLAIN)}\r\n"
            f"grpc-status-details-bin:{self.grpc_details}\r\n"
        ).encode()
        frame = b"\x80" + len(lines).to_bytes(4, "big") + lines
        # Envoy reads a format here, in which a percent sign begins a command.
        return base64.b64encode(frame.replace(b"%", b"%%")).decode()

    @property
    def json(self) -> dict[str, Any]:
        """The google.rpc.Status as a JSON format of Envoy's."""
        info = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": self.reason,
            "domain": DOMAIN,
            "metadata": {"cause": "%LOCAL_REPLY_BODY%"} if self.shows_cause else {},
        }
        return {"code": self.code, "message": self.message, "details": [info]}


INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, RESOURCE_EXHAUSTED = 3, 4, 5, 8
UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 12, 13, 14, 16

_BAD_TOKEN: Final = "The access token is not valid. Refresh it or sign in again."  # noqa: S105 - a sentence

REFUSALS: Final = (
    Refusal(
        name="The token keys have not come yet: that is not the caller's fault.",
        when='response.code == 401 && response.code_details.contains("Jwks_remote_fetch")',
        answers=503,
        code=UNAVAILABLE,
        reason="UPSTREAM_UNAVAILABLE",
        message="Access tokens cannot be checked just now. Please try again.",
    ),
    Refusal(
        name="A protected method without a token.",
        when='response.code == 401 && response.code_details.contains("Jwt_is_missing")',
        code=UNAUTHENTICATED,
        reason="MISSING_TOKEN",
        message="This call needs an access token: Authorization: Bearer ...",
    ),
    Refusal(
        name="A token that was good once.",
        when='response.code == 401 && response.code_details.contains("Jwt_is_expired")',
        code=UNAUTHENTICATED,
        reason="TOKEN_EXPIRED",
        message="The access token has run out. Refresh it or sign in again.",
    ),
    Refusal(
        name="Any other token, and two of them.",
        when="response.code == 401",
        code=UNAUTHENTICATED,
        reason="INVALID_TOKEN",
        message=_BAD_TOKEN,
    ),
    Refusal(
        name="A token for somebody else: Envoy calls it forbidden.",
        when="response.code == 403",
        answers=401,
        code=UNAUTHENTICATED,
        reason="INVALID_TOKEN",
        message=_BAD_TOKEN,
    ),
    Refusal(
        name="No such method.",
        when="response.code == 404",
        code=NOT_FOUND,
        grpc_code=UNIMPLEMENTED,
        reason="METHOD_NOT_FOUND",
        message="There is no such method here.",
    ),
    Refusal(
        name="A request that took too long to arrive.",
        when="response.code == 408",
        code=DEADLINE_EXCEEDED,
        reason="REQUEST_TIMEOUT",
        message="The request took too long.",
    ),
    Refusal(
        name="A body over the limit.",
        when="response.code == 413",
        code=INVALID_ARGUMENT,
        reason="BODY_TOO_LARGE",
        message="The request's body is too large.",
    ),
    Refusal(
        name="Over a rate limit.",
        when="response.code == 429",
        code=RESOURCE_EXHAUSTED,
        reason="RATE_LIMITED",
        message="Too many of these calls from one address. Please wait a little.",
    ),
    Refusal(
        name="Headers over the limit.",
        when="response.code == 431",
        code=INVALID_ARGUMENT,
        reason="HEADERS_TOO_LARGE",
        message="The request's headers are too large.",
    ),
    Refusal(
        name="Nobody there, or too much going on.",
        when="response.code == 503",
        code=UNAVAILABLE,
        reason="UPSTREAM_UNAVAILABLE",
        message="We cannot do this just now. Please try again.",
    ),
    Refusal(
        name="No answer in time.",
        when="response.code == 504",
        code=DEADLINE_EXCEEDED,
        reason="UPSTREAM_TIMEOUT",
        message="This took too long. Please try again.",
    ),
    Refusal(
        name="An answer that made no sense, and whatever else is our fault.",
        when="response.code >= 500",
        code=INTERNAL,
        reason="INTERNAL",
        message="Something went wrong on our side.",
    ),
    Refusal(
        name="A request that made no sense, and whatever else is the caller's.",
        when="response.code >= 400",
        code=INVALID_ARGUMENT,
        reason="INVALID_REQUEST",
        message="The request cannot be read.",
        shows_cause=True,
    ),
)
"""What the edge says by itself, the first that fits."""

SPOKEN: Final = "x-edge-content-type"
"""The request's content type as it came; the filters change the real one."""

_FROM_GRPC: Final = f'request.headers["{SPOKEN}"].startsWith("application/grpc")'
"""Whether a request is a gRPC or gRPC-Web caller's, in CEL. False, too, where the header is missing."""
_FROM_GRPC_WEB: Final = (
    f"{_FROM_GRPC.replace('grpc', 'grpc-web')} && !{_FROM_GRPC.replace('grpc', 'grpc-web-text')}"
)
"""Whether it is gRPC-Web with binary frames.

In text mode Envoy's filter would encode the frame in base64 and leave the content length as it was. Such a
caller gets what gRPC gets, of which the filter makes a status after the HTTP status, with the details intact.
"""


def methods(descriptor_set: bytes, settings: EdgeSettings) -> tuple[Method, ...]:
    """Return every method that the edge lets in, in the contract's order.

    Args:
        descriptor_set: A serialised google.protobuf.FileDescriptorSet.
        settings: Where the limits stand.

    Raises:
        ValueError: A public service, or a method that has a limit, is not in the contract.
    """
    found: list[Method] = []
    services: set[str] = set()
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptor_set).file:
        for service in file.service:
            name = f"{file.package}.{service.name}"
            if name in PUBLIC_SERVICES:
                services.add(name)
                found += [
                    _method(f"/{name}/{method.name}", PUBLIC_SERVICES[name], method, settings)
                    for method in service.method
                    if method.options.Extensions[options_pb2.access] != options_pb2.ACCESS_INTERNAL
                ]
    absent = (PUBLIC_SERVICES.keys() - services) | (_LIMITS.keys() - {method.path for method in found})
    if absent:
        raise ValueError(f"The contract does not have {', '.join(sorted(absent))}.")
    return tuple(found)


def _method(
    path: str, cluster: str, method: descriptor_pb2.MethodDescriptorProto, settings: EdgeSettings
) -> Method:
    options = descriptor_pb2.MethodOptions
    limit = _LIMITS.get(path)
    streams = method.server_streaming
    return Method(
        path=path,
        cluster="game_streams" if cluster == "game" and streams else cluster,
        public=method.options.Extensions[options_pb2.access] == options_pb2.ACCESS_PUBLIC,
        repeatable=method.options.idempotency_level in (options.NO_SIDE_EFFECTS, options.IDEMPOTENT),
        streams_up=method.client_streaming,
        streams_down=streams,
        limit=None
        if limit is None
        else Limit(name=limit, per_minute=getattr(settings, f"edge_{limit}_per_minute")),
    )


def clusters(settings: EdgeSettings) -> tuple[Cluster, ...]:
    """Return where the methods go."""
    gateway = tuple(Target(*split_target(target)) for target in settings.gateway_target)
    game = tuple(Target(*split_target(target)) for target in settings.game_target)
    return (
        Cluster(
            name="gateway",
            comment="Accounts and sign-in. It serves while the gateway's own database does.",
            service="popcorn.gateway.v1.AuthService",
            targets=gateway,
            max_requests=4096,
        ),
        Cluster(
            name="library",
            comment="Films and backlogs, by the same replicas; it serves while those behind the gateway do.",
            service="popcorn.gateway.v1.LibraryService",
            targets=gateway,
            max_requests=4096,
        ),
        Cluster(
            name="game",
            comment="Rooms: calls with one answer.",
            service="popcorn.game.v1.GameService",
            targets=game,
            max_requests=4096,
            by_room=True,
        ),
        Cluster(
            name="game_streams",
            comment="Rooms: the streams. They last for hours and must not use up what short calls live on.",
            service="popcorn.game.v1.GameService",
            targets=game,
            max_requests=100_000,
            by_room=True,
        ),
    )


def render(settings: EdgeSettings, *, folder: Path = Path()) -> str:
    """Return Envoy's configuration as YAML.

    Args:
        settings: Where and how the edge runs.
        folder: Where the files of `secrets` are going to be.

    Raises:
        ValueError: The descriptor set lacks something; see `methods`.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - YAML, not HTML: every text goes through `yaml`
    )
    # JSON is YAML, whatever a setting holds.
    environment.filters["yaml"] = json.dumps
    return environment.get_template(TEMPLATE.name).render(
        settings=settings,
        secrets=folder,
        methods=methods(settings.edge_descriptor_set.read_bytes(), settings),
        pages={settings.edge_descriptor_set.with_name(page.file): page for page in PAGES},
        services=list(PUBLIC_SERVICES),
        clusters=clusters(settings),
        collector=None
        if settings.otlp_endpoint is None
        else Target(*split_target(settings.otlp_endpoint.removeprefix("http://"))),
        refusals=REFUSALS,
        spoken=SPOKEN,
        from_grpc=_FROM_GRPC,
        from_grpc_web=_FROM_GRPC_WEB,
        own_address={"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.edge_bind, settings.edge_bind),  # noqa: S104
        only_ours=list(ONLY_OURS),
        identity_header=IDENTITY_HEADER,
        keys_method=KEYS_METHOD,
        cors_origins=settings.cors_origins,
    )


def secrets(settings: EdgeSettings) -> Mapping[str, str]:
    """Return the files that say where Envoy's certificates and keys are, by name; none without TLS.

    Only what comes from such a file is read again when it changes: Envoy watches the folder that a PEM file
    is in, and looks when something is moved into it, as it is when Kubernetes renews a mounted secret.
    """
    found: dict[str, Any] = {}
    if settings.edge_tls_certificate_file is not None and settings.edge_tls_key_file is not None:
        found["public_certificate"] = _certificate(
            settings.edge_tls_certificate_file, settings.edge_tls_key_file
        )
    files = settings.certificate_files()
    if files is not None:
        found["mesh_certificate"] = _certificate(files.chain, files.key)
        found["mesh_authorities"] = {
            "validation_context": {"trusted_ca": {"filename": str(files.authorities)}}
        }
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    return {
        f"{name}.yaml": json.dumps({"resources": [{"@type": kind, "name": name, **secret}]}) + "\n"
        for name, secret in found.items()
    }


def _certificate(chain: Path, key: Path) -> dict[str, Any]:
    return {
        "tls_certificate": {
            "certificate_chain": {"filename": str(chain)},
            "private_key": {"filename": str(key)},
        }
    }


def write(settings: EdgeSettings, folder: Path) -> Path:
    """Write what Envoy reads into a folder, and return its configuration's path.

    The descriptor set and the pages are copied there: what the folder holds is all that Envoy needs from us.

    Raises:
        ValueError: As `render`.
        OSError: The folder cannot be written to.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    contract = folder / "popcorn.binpb"
    contract.write_bytes(settings.edge_descriptor_set.read_bytes())
    for page in PAGES:
        (folder / page.file).write_bytes(settings.edge_descriptor_set.with_name(page.file).read_bytes())
    for name, text in secrets(settings).items():
        (folder / name).write_text(text, encoding="utf-8")
    configuration = folder / "envoy.yaml"
    text = render(settings.model_copy(update={"edge_descriptor_set": contract}), folder=folder)
    configuration.write_text(text, encoding="utf-8")
    return configuration


def main(arguments: Sequence[str] | None = None) -> int:
    """Render the configuration with settings from the environment."""
    parser = argparse.ArgumentParser(
        prog="python -m mesh.edge", description="Envoy's configuration, as YAML."
    )
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="FOLDER",
        help="write all that Envoy reads to FOLDER, as envoy.yaml and others",
    )
    options = parser.parse_args(arguments)
    settings = load(EdgeSettings)
    if options.folder is None:
        print(render(settings), end="")
    else:
        write(settings, options.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
