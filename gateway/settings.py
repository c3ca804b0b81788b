"""What the gateway reads from the environment."""

from pathlib import Path

from pydantic import Field

from mesh.postgres import DatabaseUrl
from mesh.settings import CommaSeparated, Listen, Settings, Target, WebUrl


class GatewaySettings(Settings):
    """The gateway's settings."""

    gateway_listen: Listen
    """Where the gateway listens, as host:port; port 0 takes a free one."""
    backlog_target: Target
    """Where backlog_svc is: host:port, or any gRPC target such as dns:///backlog:9000."""
    movie_target: Target
    """Where movie_svc is: host:port, or any gRPC target."""
    database_url: DatabaseUrl
    """PostgreSQL, as postgresql://user:password@host:port/database."""
    database_connections: int = Field(default=10, ge=1, le=200)
    """How many connections to PostgreSQL one replica opens at most: 1 to 200."""
    google_client_ids: CommaSeparated = Field(min_length=1)
    """Our client ids at Google (iOS, Android, web), with commas between them."""
    google_certs_url: WebUrl = "https://www.googleapis.com/oauth2/v3/certs"
    """Where Google publishes the keys of its ID tokens, as a JSON Web Key Set."""
    apple_client_ids: CommaSeparated = Field(min_length=1)
    """Our client ids at Apple (the app's bundle id, the web's service id), with commas between them."""
    apple_keys_url: WebUrl = "https://appleid.apple.com/auth/keys"
    """Where Apple publishes the keys of its identity tokens, as a JSON Web Key Set."""
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
