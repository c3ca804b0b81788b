"""Why a backlog says no. Each refusal has its status, its stable reason and a sentence for people."""

from collections.abc import Mapping


class EntryNotFound(Exception):
    """The film is not in the backlog."""

    status = "NOT_FOUND"
    reason = "ENTRY_NOT_FOUND"

    def __init__(self, movie_id: int) -> None:
        super().__init__(f"The film {movie_id} is not in this backlog.")
        self.metadata: Mapping[str, str] = {"movie_id": str(movie_id)}


class EntryChanged(Exception):
    """The entry is not the one that was read any more."""

    status = "ABORTED"
    reason = "ENTRY_CHANGED"

    def __init__(self, movie_id: int) -> None:
        super().__init__(f"The entry for the film {movie_id} has changed since it was read. Read it again.")
        self.metadata: Mapping[str, str] = {"movie_id": str(movie_id)}
