"""Why a file, or a request about an import, is refused."""

from collections.abc import Mapping
from typing import ClassVar


class FileTooLarge(Exception):
    """The file, or what an archive unpacks to, is longer than is taken."""

    status = "INVALID_ARGUMENT"
    reason = "FILE_TOO_LARGE"

    def __init__(self, most_bytes: int) -> None:
        super().__init__(f"The file is too large: at most {most_bytes} bytes are taken, unpacked.")
        self.metadata: Mapping[str, str] = {"most_bytes": str(most_bytes)}


class TooManyRows(Exception):
    """The file has more lines than are taken."""

    status = "INVALID_ARGUMENT"
    reason = "TOO_MANY_ROWS"

    def __init__(self, most_rows: int) -> None:
        super().__init__(f"The file has too many lines: at most {most_rows} are taken.")
        self.metadata: Mapping[str, str] = {"most_rows": str(most_rows)}


class UnknownFormat(Exception):
    """The file is none of those that can be read."""

    status = "INVALID_ARGUMENT"
    reason = "UNKNOWN_FORMAT"
    metadata: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        super().__init__(
            "This is no file of Letterboxd (CSV or zip), IMDb, Trakt (JSON) or TMDB, nor our own export."
        )


class UnreadableArchive(Exception):
    """The zip archive is damaged, encrypted, or made to do harm."""

    status = "INVALID_ARGUMENT"
    reason = "UNREADABLE_ARCHIVE"
    metadata: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        super().__init__("The zip archive cannot be read: it is damaged, encrypted, or of an unusual kind.")
