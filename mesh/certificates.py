"""Mutual TLS inside the mesh: who may speak to a service, and who a service is.

One certificate and key a process, and the authorities that it trusts, as PEM files that somebody may replace
while it runs (Kubernetes does, for a mounted secret). A server asks every client for a certificate of those
authorities; a client does the same and compares the server's name. What is replaced counts for new
connections: a server takes it at its next handshake, a channel opens new connections beside the old ones,
which end when their calls have.

    certificates = Certificates(CertificateFiles(chain, key, authorities))
    port = server.add_secure_port(listen, certificates.server_credentials())
    channel = mutual_tls_channel(target, certificates, options=...)
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

_RELOAD_SECONDS: Final = 2.0
_OLD_CALLS_SECONDS: Final = 60.0
"""How long calls upon an old certificate's connections may take to end."""

_log = structlog.get_logger("mesh.certificates")


class CertificateError(Exception):
    """A file cannot be used; the text is a sentence for whoever runs the service."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} {problem}")
        self.path = path


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where the three files are, all PEM."""

    chain: Path
    """Our certificate, then whatever leads from it to an authority."""
    key: Path
    """The certificate's private key, without a password."""
    authorities: Path
    """The authorities whose certificates count; during a change both the old and the new."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the files held at one moment."""

    chain: bytes
    key: bytes = field(repr=False)
    authorities: bytes
    expire_time: datetime = field(compare=False)
    """When our certificate runs out."""


def read(files: CertificateFiles) -> Certificate:
    """Return what the files hold, which is seen to fit together.

    Raises:
        CertificateError: A file cannot be read, is not PEM, or the key is not the certificate's.
    """
    chain, authorities = _text_of(files.chain), _text_of(files.authorities)
    first = _certificates_in(chain, files.chain)[0]
    _certificates_in(authorities, files.authorities)
    key = _text_of(files.key)
    try:
        public_key = load_pem_private_key(key, password=None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(files.key, "holds no private key in PEM without a password") from error
    if _spki(public_key) != _spki(first.public_key()):
        raise CertificateError(files.key, f"is not the key of the certificate in {files.chain}")
    return Certificate(chain, key, authorities, first.not_valid_after_utc)


def _text_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(path, f"cannot be read: {error.strerror}") from error


def _certificates_in(text: bytes, path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError as error:
        raise CertificateError(path, "holds no certificate in PEM") from error


def _spki(key: Any) -> bytes:
    text: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return text


class Certificates:
    """Our certificate through its renewals. New files that are no good are logged and left alone."""

    def __init__(self, files: CertificateFiles) -> None:
        """Read the files. Raises CertificateError."""
        self._files = files
        self._current = read(files)
        self._complaint = ""

    @property
    def current(self) -> Certificate:
        """What counts now; a new object after every change."""
        return self._current

    def reload(self) -> None:
        """Take the files as they are now, if they are any good.

        They are not replaced in one step everywhere, so that a key may not fit its certificate for a moment.
        """
        try:
            found = read(self._files)
        except CertificateError as error:
            if str(error) != self._complaint:  # once, not at every look
                _log.error("certificates.unusable", detail=str(error))
            self._complaint = str(error)
            return
        self._complaint = ""
        if found != self._current:
            self._current = found
            _log.info("certificates.reloaded", expire_time=found.expire_time.isoformat())

    async def follow(self, *, seconds: float = _RELOAD_SECONDS) -> None:
        """Look for ever whether the files have changed."""
        while True:
            await asyncio.sleep(seconds)
            self.reload()

    def server_credentials(self) -> grpc.ServerCredentials:
        """Return credentials for one port: clients need a certificate, and a new one of ours is taken."""
        given = self._current

        def newest() -> grpc.ServerCertificateConfiguration | None:
            # gRPC asks at every handshake, from threads of its own; None is "as before".
            nonlocal given
            current = self._current
            if current is given:
                return None
            given = current
            return _server_configuration(current)

        return grpc.dynamic_ssl_server_credentials(
            _server_configuration(given),
            newest,  # type: ignore[arg-type]  # None is documented, and not in the types
            require_client_authentication=True,
        )


def _server_configuration(certificate: Certificate) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(certificate.key, certificate.chain)], root_certificates=certificate.authorities
    )


def channel_credentials(certificate: Certificate) -> grpc.ChannelCredentials:
    """Return the credentials of a client that has this certificate and trusts its authorities."""
    return grpc.ssl_channel_credentials(
        root_certificates=certificate.authorities,
        private_key=certificate.key,
        certificate_chain=certificate.chain,
    )


def mutual_tls_channel(
    target: str, certificates: Certificates, *, options: Sequence[tuple[str, Any]]
) -> grpc.aio.Channel:
    """Open a channel that goes on with new connections when our certificate has changed.

    Args:
        target: Any gRPC target. Its host is what the server's certificate has to name; of several addresses
            it is the first, as replicas share a certificate.
        certificates: What we show, and whose servers we speak to.
        options: gRPC's channel arguments.
    """
    return _MutualTlsChannel(target, certificates, options)


class _MutualTlsChannel(grpc.aio.Channel):
    """A chain of gRPC's own channels, which keep the credentials they were opened with.

    The first call after a change opens the next, and the calls of the one before have a minute to end.
    """

    def __init__(self, target: str, certificates: Certificates, options: Sequence[tuple[str, Any]]) -> None:
        self._target = target
        self._certificates = certificates
        self._options = list(options)
        if "," in target:
            self._options.append(("grpc.default_authority", target.removeprefix("ipv4:").split(",")[0]))
        self._closing: set[asyncio.Task[None]] = set()
        self._shown = certificates.current
        self._newest = self._open()

    def _open(self) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(self._target, channel_credentials(self._shown), options=self._options)

    def _channel(self) -> grpc.aio.Channel:
        current = self._certificates.current
        if current is not self._shown:
            before, self._shown = self._newest, current
            self._newest = self._open()
            closing = asyncio.create_task(before.close(_OLD_CALLS_SECONDS), name="close old connections")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        return self._newest

    def _calling(self, make: Callable[[grpc.aio.Channel], Any]) -> Any:
        channel = self._channel()
        multi_callable = make(channel)

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal channel, multi_callable
            newest = self._channel()
            if newest is not channel:
                channel, multi_callable = newest, make(newest)
            return multi_callable(*args, **kwargs)

        return call

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._calling(lambda channel: channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._calling(lambda channel: channel.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._calling(lambda channel: channel.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._calling(lambda channel: channel.stream_stream(*args, **kwargs))

    async def close(self, grace: float | None = None) -> None:
        for closing in tuple(self._closing):
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._newest.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel().channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
