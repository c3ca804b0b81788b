"""What the backlog service reads from the environment."""

from pydantic import Field, SecretStr

from mesh.settings import DatabaseUrl, Listen, Settings, Target


class BacklogSettings(Settings):
    """Where the backlog service listens and keeps its data."""

    database_url: DatabaseUrl
    """The PostgreSQL database, version 17 or newer and in UTF-8, such as
    postgresql://user:password@host:5432/popcorn."""
    database_connections: int = Field(default=10, ge=1, le=200)
    """How many connections to PostgreSQL one replica opens at most: 1 to 200."""
    backlog_listen: Listen
    """Where the backlog service listens, as host:port; port 0 takes a free one."""
    movie_target: Target
    """Where movie_svc is: host:port."""
    page_token_key: SecretStr = Field(min_length=32)
    """Signs page tokens: at least 32 characters, the same in every replica."""
