"""Zip archives, read in memory within bounds. Nothing is ever written to a path that an archive names.

What a zip file says of its own sizes is not believed: each member is unpacked piece by piece until the bound.
The central directory, which Python's zipfile reads as a whole, is looked at first (APPNOTE.TXT 4.3.16: the
end of it is the record PK 05 06, in the last 64 KiB).
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from backlog_svc.imports.refusals import FileTooLarge, UnreadableArchive

MOST_UNPACKED_BYTES: Final = 64 * 1024 * 1024
MOST_MEMBERS: Final = 2000
"""Letterboxd's archives have a file for each list somebody keeps."""

_MAGIC: Final = b"PK\x03\x04"
_END: Final = b"PK\x05\x06"
_END_LOCATOR_64: Final = b"PK\x06\x07"
_END_BYTES: Final = 22
_LONGEST_COMMENT: Final = 65_535
_LARGEST_DIRECTORY: Final = 1024 * 1024
_PIECE: Final = 64 * 1024
_ENCRYPTED: Final = 1


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive."""

    name: str
    """Its last part, for people."""
    data: bytes


def is_archive(data: bytes) -> bool:
    """Tell whether a file is a zip archive."""
    return data.startswith(_MAGIC)


def members(data: bytes, *, most_bytes: int = MOST_UNPACKED_BYTES) -> Iterator[Member]:
    """Give the CSV and JSON files that stand in an archive's top folder, one at a time.

    Folders below it are left alone: Letterboxd keeps likes, lists and what was deleted there.

    Raises:
        UnreadableArchive: It is damaged, encrypted, or not what zip programs make.
        FileTooLarge: All of them together are longer than `most_bytes`.
    """
    _see_that_the_directory_is_small(data)
    left = most_bytes
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in _on_top(archive.infolist()):
                if info.flag_bits & _ENCRYPTED or info.compress_type not in (
                    zipfile.ZIP_STORED,
                    zipfile.ZIP_DEFLATED,
                ):
                    raise UnreadableArchive
                unpacked = bytearray()
                with archive.open(info) as member:
                    while piece := member.read(_PIECE):
                        left -= len(piece)
                        if left < 0:
                            raise FileTooLarge(most_bytes)
                        unpacked += piece
                yield Member(info.filename.rpartition("/")[2].lower()[:100], bytes(unpacked))
    # What zipfile raises at archives that are broken or made to break it; NotImplementedError is an unknown
    # compression, RuntimeError a password, and none of them is a fault of ours.
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError, OSError):
        raise UnreadableArchive from None


def _on_top(infos: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    if len(infos) > MOST_MEMBERS:
        raise UnreadableArchive
    files = [
        info
        for info in infos
        if not info.is_dir()
        and info.filename.lower().endswith((".csv", ".json"))
        and not info.filename.startswith("__MACOSX/")
    ]
    top = min((info.filename.count("/") for info in files), default=0)
    return [info for info in files if info.filename.count("/") == top]


def _see_that_the_directory_is_small(data: bytes) -> None:
    end = data.rfind(_END, max(0, len(data) - _END_BYTES - _LONGEST_COMMENT))
    if end < 0 or len(data) < end + _END_BYTES or data[max(0, end - 20) :].startswith(_END_LOCATOR_64):
        raise UnreadableArchive
    count, directory_bytes = struct.unpack_from("<HI", data, end + 10)
    if count > MOST_MEMBERS or directory_bytes > _LARGEST_DIRECTORY:
        raise UnreadableArchive
