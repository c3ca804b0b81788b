"""Settings: one frozen, documented class a service, read from the environment once.

    class GatewaySettings(Settings):
        page_token_key: SecretStr
        \"\"\"Signs page tokens: at least 32 characters, the same in every replica.\"\"\"

    settings = load(GatewaySettings)

A missing or bad variable stops the process with one sentence each. `python -m mesh.settings` prints
`.env.example` from the classes of every service; `--write FILE` writes it, `--check FILE` compares.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretBytes,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from mesh.certificates import CertificateError, CertificateFiles, Certificates, read

S = TypeVar("S", bound="Settings")

_HOST_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_IPV4_PORT = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}:([0-9]{1,5})")
_WEB_URL = re.compile(r"https?://[A-Za-z0-9._~:\[\]-]+(?:/[^\s?#]*)?")


def _listen_address(value: str) -> str:
    match = _HOST_PORT.fullmatch(value)
    if match is None or int(match[1]) > 65535:
        raise ValueError("it should look like 127.0.0.1:9000, port 0 for a free one")
    return value


def _target(value: str) -> str:
    several = "," in value
    for address in value.split(",") if several else [value.removeprefix("dns:///")]:
        match = (_IPV4_PORT if several else _HOST_PORT).fullmatch(address)
        if match is None or not 1 <= int(match[1]) <= 65535:
            raise ValueError(
                "it should look like backlog:9000, dns:///backlog:9000 or 10.0.0.1:9000,10.0.0.2:9000"
            )
    return f"ipv4:{value}" if several else value


def _web_url(value: str) -> str:
    if _WEB_URL.fullmatch(value) is None:
        raise ValueError("it should look like https://example.com/path")
    return value.rstrip("/")


def _collector(value: str) -> str:
    address = value.rstrip("/")
    match = _HOST_PORT.fullmatch(address.removeprefix("http://"))
    if match is None or not address.startswith("http://") or not 1 <= int(match[1]) <= 65535:
        raise ValueError("it should look like http://collector:4318")
    return address


def _split_commas(value: Any) -> Any:
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


def _database_url(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in {"postgresql", "postgres"} or not parts.path.strip("/"):
        raise ValueError("it should look like postgresql://user:password@host:port/database")
    return value


def _url_of(*schemes: str, example: str) -> AfterValidator:
    pattern = re.compile(rf"(?:{'|'.join(map(re.escape, schemes))})://[^\s/?#]+(?:[/?#]\S*)?")

    def check(value: SecretStr) -> SecretStr:
        if pattern.fullmatch(value.get_secret_value()) is None:
            raise ValueError(f"it should look like {example}")
        return value

    return AfterValidator(check)


Listen = Annotated[str, AfterValidator(_listen_address)]
"""Where to listen: `host:port`, port 0 for a free one."""
Target = Annotated[str, AfterValidator(_target)]
"""Where another service is, as gRPC has it: `host:port`, `dns:///host:port`, or `address:port` of several
replicas with commas between them, for IPv4."""
WebUrl = Annotated[str, AfterValidator(_web_url)]
"""An http or https address without query; a final slash is taken off."""
CollectorUrl = Annotated[str, AfterValidator(_collector)]
"""A collector of traces in our own network: `http://host:port`."""
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
"""A PostgreSQL database, `postgresql://user:password@host:port/database`, kept out of logs."""
RedisUrl = Annotated[
    SecretStr,
    _url_of("redis", "rediss", "redis+cluster", "rediss+cluster", example="redis://host:6379/0"),
]
"""Where a Redis server is, kept out of logs."""
MongoUrl = Annotated[
    SecretStr, _url_of("mongodb", "mongodb+srv", example="mongodb://user:password@host:27017/popcorn")
]
"""Where a MongoDB replica set is, kept out of logs."""
CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]
"""Several values with commas between them."""


class Settings(BaseSettings):
    """What every service reads. Each field is the variable of its name in upper case; empty is unset."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is logged: debug, info, warning or error."""
    log_format: Literal["json", "console"] = "json"
    """How log lines look: json for machines, console for people."""
    shutdown_grace_seconds: float = Field(default=10.0, ge=0, le=300)
    """How many seconds running calls may take to finish when the service stops: 0 to 300."""
    health_listen: Listen | None = None
    """Where health, and nothing else, is answered in plain text, as host:port: for probes that have no
    certificate. Empty: only where everything else is."""
    metrics_listen: Listen | None = None
    """Where metrics are served to Prometheus over HTTP, as host:port. Empty: nothing is counted."""
    otlp_endpoint: CollectorUrl | None = None
    """Where traces go, from the edge, which begins them, and from the services: a collector that takes OTLP
    over HTTP, as http://host:port. Empty: there are none."""
    mesh_certificate_file: Path | None = None
    """Our certificate inside the mesh, with its chain (PEM). With this and the next two every service asks
    its callers for a certificate, and files that change are read again. Without them the mesh speaks plain
    text: for one machine."""
    mesh_key_file: Path | None = None
    """The private key (PEM) of that certificate."""
    mesh_authorities_file: Path | None = None
    """The authorities (PEM) whose certificates count in the mesh; while they change, the old and the new."""

    def certificate_files(self) -> CertificateFiles | None:
        """Return where mutual TLS has its files, or None where the mesh speaks plain text."""
        chain, key, authorities = self.mesh_certificate_file, self.mesh_key_file, self.mesh_authorities_file
        if chain is None or key is None or authorities is None:
            return None
        return CertificateFiles(chain, key, authorities)

    def certificates(self) -> Certificates | None:
        """Read our certificate, or None where the mesh speaks plain text. Call it once a process."""
        files = self.certificate_files()
        return None if files is None else Certificates(files)

    @model_validator(mode="after")
    def _everything_has_a_port_of_its_own(self) -> Self:
        taken: dict[str, str] = {}
        for name, listen in self:
            if name.endswith("_listen") and listen is not None and not listen.endswith(":0"):
                if listen in taken:
                    both = f"{taken[listen].upper()} and {name.upper()}"
                    raise ValueError(f"{both} are the same: give each a port of its own")
                taken[listen] = name
        return self

    @model_validator(mode="after")
    def _certificates_are_usable(self) -> Self:
        files = self.certificate_files()
        if files is not None:
            variables = {
                files.chain: "MESH_CERTIFICATE_FILE",
                files.key: "MESH_KEY_FILE",
                files.authorities: "MESH_AUTHORITIES_FILE",
            }
            try:
                read(files)
            except CertificateError as error:
                raise ValueError(f"{variables[error.path]} is not usable: {error}") from error
        elif self.mesh_certificate_file or self.mesh_key_file or self.mesh_authorities_file:
            raise ValueError(
                "MESH_CERTIFICATE_FILE, MESH_KEY_FILE and MESH_AUTHORITIES_FILE belong together: "
                "set all of them, or none"
            )
        return self

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _in_lower_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value


def load(settings_class: type[S]) -> S:
    """Read a service's settings from the environment.

    What is wrong is written to stderr, one sentence a variable, and ends the process with status 2. A
    sentence says what the variable should be, and never repeats what it was.
    """
    try:
        return settings_class()
    except (ValidationError, SettingsError) as error:
        for sentence in sentences(settings_class, error):
            print(sentence, file=sys.stderr)
        raise SystemExit(2) from None


def sentences(settings_class: type[Settings], error: ValidationError | SettingsError) -> list[str]:
    """Return one sentence for every variable that an error names."""
    if isinstance(error, SettingsError):
        return [
            "The environment cannot be read: a variable that holds a list or an object is not valid JSON."
        ]
    found: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        info = settings_class.model_fields.get(name)
        message = problem["msg"].removeprefix("Value error, ")
        if info is None:
            found.setdefault(message, f"{_capital(message)}.")
        else:
            found.setdefault(name, _sentence(variable_of(name, info), info, problem["type"], message))
    return list(found.values())


def _sentence(variable: str, info: FieldInfo, kind: str, message: str) -> str:
    meaning = " ".join((info.description or "").split()) or "see .env.example."
    if kind == "missing":
        return f"{variable} is not set: {meaning}"
    # What a validator says about a secret might quote it.
    why = "" if is_secret(info) else f" ({message[0].lower()}{message[1:]})"
    return f"{variable} is not usable{why}: {meaning}"


def is_secret(info: FieldInfo) -> bool:
    """Return whether a field holds something that nobody may see."""
    return any(secret in _types_in(info.annotation) for secret in (SecretStr, SecretBytes))


def _types_in(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _types_in(argument)


def variable_of(name: str, info: FieldInfo) -> str:
    """Return the environment variable that a field is read from."""
    alias = info.validation_alias
    return (alias if isinstance(alias, str) else name).upper()


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".")
