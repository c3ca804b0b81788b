"""What game_svc reads from its environment."""

from __future__ import annotations

from pydantic import Field, SecretStr

from mesh.settings import Listen, RedisUrl, Settings, Target, WebUrl


class GameSettings(Settings):
    """game_svc: the rooms."""

    game_listen: Listen = "0.0.0.0:9004"
    """Where game_svc listens: host:port, port 0 for a free one."""
    redis_url: RedisUrl
    """The Redis or Valkey server that holds the rooms: redis://host:6379/0; of a cluster, any server that is
    part of it: redis+cluster://host:6379 (rediss:// and rediss+cluster:// with TLS). It needs an append-only
    file, with `appendfsync always`: with `everysec` a busy disk makes it acknowledge swipes that a crash then
    loses, and every match waits for up to a second."""
    movie_target: Target
    """Where movie_svc is: host:port."""
    backlog_target: Target
    """Where backlog_svc is: host:port, or any gRPC target."""
    page_token_key: SecretStr = Field(min_length=32)
    """Signs page tokens: at least 32 characters, the same in every replica."""
    gateway_target: Target
    """Where the gateway is, which knows the sessions that have ended: host:port, or any gRPC target."""
    join_url: WebUrl = "https://eveningpopcorn.dev/join"
    """What a room's join link begins with; the room's code follows after a slash."""
    heartbeat_seconds: float = Field(default=15.0, gt=0, le=60)
    """How long a stream may be silent: up to 60 seconds, and less than the edge waits."""
