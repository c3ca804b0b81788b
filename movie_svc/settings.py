"""What the movie service reads from the environment."""

from pydantic import Field, SecretStr

from mesh.settings import Listen, MongoUrl, Settings, WebUrl


class MovieSettings(Settings):
    """Where the movie service listens, what it caches in, and how it may ask TMDB."""

    mongo_url: MongoUrl
    """The MongoDB database that films are cached in, such as mongodb://user:password@host:27017/popcorn."""
    movie_listen: Listen
    """Where the movie service listens, as host:port; port 0 takes a free one."""
    page_token_key: SecretStr = Field(min_length=32)
    """Signs page tokens: at least 32 characters, the same in every replica."""
    tmdb_api_key: SecretStr = Field(min_length=1)
    """TMDB's key: a read access token, or an API key of version 3."""
    tmdb_url: WebUrl = "https://api.themoviedb.org/3"
    """Where TMDB's API is, up to and including its version."""
    tmdb_image_url: WebUrl = "https://image.tmdb.org/t/p"
    """Where TMDB's pictures are, as apps reach them."""
    tmdb_requests_per_second: float = Field(default=40, gt=0, le=1000)
    """How many requests to TMDB all replicas together send a second; TMDB bears about 40."""
    tmdb_replicas: int = Field(default=1, ge=1, le=1000)
    """Among how many replicas that is divided: as many as there may be, and one more to fill: 1 to 1000."""
    tmdb_requests_at_once: int = Field(default=20, ge=1, le=200)
    """How many requests to TMDB one replica has in the air at most: 1 to 200."""
    tmdb_changes_minutes: int = Field(default=60, ge=1, le=720)
    """How often TMDB is asked which films have changed, by one replica for all, in minutes: 1 to 720."""
    films_in_memory: int = Field(default=5000, ge=1, le=1_000_000)
    """How many films one replica holds in memory, about 10 KB each: 1 to 1000000."""
    suggested_films: int = Field(default=200_000, ge=1, le=2_000_000)
    """How many films, the popular first, one replica suggests titles of; about 0.5 KB each: 1 to 2000000."""
