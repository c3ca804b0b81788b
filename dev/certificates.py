"""A certificate authority of our own, for tests and for clusters that nobody but us reaches."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.certificates import CertificateFiles

_CLOCKS_DIFFER = datetime.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """Signs certificates that are good for servers and clients alike."""

    def __init__(self, name: str, *, days: float = 365) -> None:
        """Makes its key and its own certificate.

        Args:
            name: What people call it.
            days: How long it and everything it signs is valid.
        """
        self._days = days
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _common_name(name)
        self._certificate = (
            self._begun(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def certificate(self) -> bytes:
        """What those who trust it have, as PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, *hosts: str) -> Issued:
        """Signs a certificate for these host names and addresses, the first of them its common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._begun(_common_name(hosts[0]), key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(list(_alternative_names(hosts))), critical=False)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return Issued(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )

    def _begun(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCKS_DIFFER)
            .not_valid_after(now + datetime.timedelta(days=self._days))
        )


class Mounted:
    """A folder as Kubernetes mounts a secret: tls.crt, tls.key and ca.crt are links that change at once."""

    def __init__(self, folder: Path) -> None:
        """Names the folder; `put` makes it."""
        self._folder = folder
        self._numbers = count(1)

    @property
    def files(self) -> CertificateFiles:
        """Where the three files are."""
        return CertificateFiles(self._folder / "tls.crt", self._folder / "tls.key", self._folder / "ca.crt")

    def put(self, issued: Issued, *trusted: Authority) -> None:
        """Puts these in the place of what was there."""
        data = self._folder / f"..{next(self._numbers)}"
        data.mkdir(parents=True)
        texts = {
            "tls.crt": issued.certificate,
            "tls.key": issued.key,
            "ca.crt": b"".join(authority.certificate for authority in trusted),
        }
        for name, text in texts.items():
            (data / name).write_bytes(text)
        link = self._folder / f"{data.name}-link"
        link.symlink_to(data.name)
        link.replace(self._folder / "..data")
        for name in texts:
            if not (self._folder / name).is_symlink():
                (self._folder / name).symlink_to(f"..data/{name}")


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative_names(hosts: Iterable[str]) -> Iterable[x509.GeneralName]:
    for host in hosts:
        try:
            yield x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            yield x509.DNSName(host)
