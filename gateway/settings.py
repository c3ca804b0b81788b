"""What the gateway reads from the environment."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from gateway.apple_client_secret import read_private_key
from gateway.sealing import read_keys
from mesh.settings import CommaSeparated, DatabaseUrl, Listen, Settings, Target, WebUrl


class GatewaySettings(Settings):
    """The gateway's settings."""

    gateway_listen: Listen
    """Where the gateway listens, as host:port; port 0 takes a free one."""
    backlog_target: Target
    """Where backlog_svc is: host:port, or any gRPC target such as dns:///backlog:9000."""
    movie_target: Target
    """Where movie_svc is: host:port, or any gRPC target."""
    game_target: Target
    """Where game_svc is: host:port, several with commas between them; a name is all its addresses."""
    database_url: DatabaseUrl
    """PostgreSQL, as postgresql://user:password@host:port/database."""
    database_connections: int = Field(default=10, ge=1, le=200)
    """How many connections to PostgreSQL one replica opens at most: 1 to 200."""
    google_client_ids: CommaSeparated = Field(min_length=1)
    """Our client ids at Google (iOS, Android, web), with commas between them."""
    google_client_secrets: SecretStr = SecretStr("")
    """The secrets of those of them that have one (web), as id=secret, with commas between. May stay empty."""
    google_token_url: WebUrl = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
    """Where Google trades authorization codes."""
    google_certs_url: WebUrl = "https://www.googleapis.com/oauth2/v3/certs"
    """Where Google publishes the keys of its ID tokens, as a JSON Web Key Set."""
    apple_client_ids: CommaSeparated = Field(min_length=1)
    """Our client ids at Apple (the app's bundle id, the web's service id), with commas between them."""
    apple_keys_url: WebUrl = "https://appleid.apple.com/auth/keys"
    """Where Apple publishes the keys of its identity tokens, as a JSON Web Key Set."""
    apple_team_id: str = ""
    """Our team at Apple. This and the next four are for codes; without them identity tokens still sign in."""
    apple_key_id: str = ""
    """The id of our Sign in with Apple key."""
    apple_private_key_file: Path | None = None
    """That key as Apple's console gives it: AuthKey_<key id>.p8."""
    apple_private_key: SecretStr = SecretStr("")
    """The same key as text instead of a file, in PEM; line breaks may be written as \\n."""
    apple_token_keys: SecretStr = SecretStr("")
    """What encrypts Apple's refresh tokens: id:base64 of 32 bytes each, with commas between. The first one
    encrypts, all decrypt: to exchange a key put a new one in front, and take the old one out a day later."""
    apple_token_url: WebUrl = "https://appleid.apple.com/auth/token"  # noqa: S105 - an address
    """Where Apple trades authorization codes."""
    apple_revoke_url: WebUrl = "https://appleid.apple.com/auth/revoke"
    """Where Apple takes refresh tokens back."""
    signing_keys_file: Path
    """The private JSON Web Key Set that signs access tokens: `python -m gateway.keys create FILE`."""
    token_issuer: str = Field(min_length=1)
    """`iss` of our access tokens: the address people reach the edge at, such as https://api.example.com."""
    token_audience: str = Field(min_length=1)
    """`aud` of our access tokens: a name for the API."""
    access_token_days: float = Field(default=30, gt=0, le=365)
    """How many days an access token lives, though never longer than its session."""
    refresh_token_days: float = Field(default=60, gt=0, le=3650)
    """How many days a session lives from sign-in, however often it is refreshed."""
    erasure_delay_seconds: float = Field(default=10, ge=0, le=30)
    """How many seconds after an account's end its data is erased: longer than services take to hear of it."""
    page_token_key: SecretStr = Field(min_length=32)
    """Signs page tokens: at least 32 characters, the same in every replica."""
    sign_ins_per_address_per_minute: int = Field(default=120, ge=1, le=1_000_000)
    """How often a minute one client address (IPv6: its /64) may sign in, over all replicas."""
    sign_ins_per_account_per_minute: int = Field(default=60, ge=1, le=1_000_000)
    """How often a minute one person may sign in, from whatever address."""
    guests_per_address_per_minute: int = Field(default=60, ge=1, le=1_000_000)
    """How often a minute one client address may sign in as a guest."""
    refreshes_per_address_per_minute: int = Field(default=240, ge=1, le=1_000_000)
    """How often a minute one client address may refresh sessions."""
    refreshes_per_account_per_minute: int = Field(default=60, ge=1, le=1_000_000)
    """How often a minute the sessions of one account may be refreshed, all together."""

    @field_validator("google_client_secrets")
    @classmethod
    def _is_pairs(cls, value: SecretStr) -> SecretStr:
        pairs(value)
        return value

    @field_validator("apple_private_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            read_private_key(value.get_secret_value())
        return value

    @field_validator("apple_token_keys")
    @classmethod
    def _are_keys(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            read_keys(split(value))
        return value

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        has_key = bool(self.apple_private_key.get_secret_value()) != bool(self.apple_private_key_file)
        asked = (self.apple_team_id, self.apple_key_id, self.apple_token_keys.get_secret_value(), has_key)
        if any(asked) and not all(asked):
            raise ValueError(
                "APPLE_TEAM_ID, APPLE_KEY_ID, APPLE_TOKEN_KEYS and one of APPLE_PRIVATE_KEY_FILE and "
                "APPLE_PRIVATE_KEY belong together: set all of them, or none"
            )
        return self


def split(value: SecretStr) -> list[str]:
    """Return the parts of a secret that has several, with commas between them."""
    return [part.strip() for part in value.get_secret_value().split(",") if part.strip()]


def pairs(value: SecretStr) -> dict[str, str]:
    """Return a secret of the shape `name=secret,...` as a mapping.

    Raises:
        ValueError: It is not of that shape. Never quotes it.
    """
    found = dict(part.partition("=")[::2] for part in split(value))
    if not all(name and secret for name, secret in found.items()):
        raise ValueError("it should look like id=secret,id=secret")
    return found
