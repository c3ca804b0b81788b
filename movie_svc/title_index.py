"""Which films have a title in which a word begins so: an index in memory.

A `Tier` is a suffix array: the folded titles of its films in one string of bytes, and the places where words
begin in it, sorted by what follows. Two binary searches give all places that begin with a prefix, at about
60 bytes a film and title. Films are numbered by popularity, so the popular ones are the least numbers there.

A short prefix fits many places. Therefore there are several tiers, each of less popular films than the one
before and ten times as large. They are asked in turn until there are enough films; a tier that had too few
tells that the next one does not have too many.

Tiers do not change. What is new lives in a small sorted list until the next `compacted`.
"""

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import chain
from typing import Final

from movie_svc.folding import word_starts

_FIRST_TIER: Final = 1_000
_GROWTH: Final = 10
_END: Final = b"\x00"
_LEAST_RECENT: Final = 500
_RECENT_SHARE: Final = 50
_DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index knows of a film."""

    movie_id: int
    popularity: float
    titles: frozenset[str]
    """Folded."""
    gone_at: float
    """When it may not be served any more, in seconds since 1970."""
    shown: bytes = b""
    """What is shown of it; the index keeps it as it is."""

    def says_the_same_as(self, other: "Entry") -> bool:
        """Whether there is nothing in it that is worth keeping it instead of the other one."""
        return (
            self.titles == other.titles
            and self.popularity == other.popularity
            and self.shown == other.shown
            and abs(self.gone_at - other.gone_at) < _DAY_SECONDS
        )


class Tier:
    """Films of a like popularity; immutable, so that it may be built in a thread."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        """Take the films, the popular first."""
        self._movie_ids = array("i", (entry.movie_id for entry in entries))
        self._popularity = array("d", (entry.popularity for entry in entries))
        self._gone_at = array("d", (entry.gone_at for entry in entries))
        # Where each film's titles begin in the text, and where the last one's end.
        self._bounds = array("I")
        self._shown_bounds = array("I")
        text, shown = bytearray(), bytearray()
        starts: dict[bytes, list[int]] = {}
        for entry in entries:
            self._bounds.append(len(text))
            self._shown_bounds.append(len(shown))
            shown += entry.shown
            for title in sorted(entry.titles):
                encoded = title.encode()
                for start in word_starts(title):
                    at = start if len(encoded) == len(title) else len(title[:start].encode())
                    starts.setdefault(encoded[at : at + 2], []).append(len(text) + at)
                text += encoded + _END
        self._bounds.append(len(text))
        self._shown_bounds.append(len(shown))
        self._text, self._shown = bytes(text), bytes(shown)
        # Sorted piece by piece: one long sort in a thread would keep the event loop from running.
        self._starts = array("I")
        for beginning in sorted(starts):
            self._starts.extend(sorted(starts.pop(beginning), key=self._rest))
        self._ranks = array("I", (bisect_right(self._bounds, start) - 1 for start in self._starts))
        self._by_id = array("I", sorted(range(len(entries)), key=self._movie_ids.__getitem__))

    def __len__(self) -> int:
        return len(self._movie_ids)

    def find(
        self, prefixes: Sequence[bytes], most: int, *, without: Container[int]
    ) -> list[tuple[float, int]]:
        """Return (popularity, film's id) of at most so many films, the popular first, `without` some."""
        ranks: set[int] = set()
        for prefix in prefixes:
            first, behind = self._range(prefix)
            ranks.update(self._ranks[first:behind])
        wanted = most
        while True:
            found = [
                (self._popularity[rank], self._movie_ids[rank])
                for rank in nsmallest(wanted, ranks)
                if self._movie_ids[rank] not in without
            ]
            if len(found) >= most or wanted >= len(ranks):
                return found[:most]
            wanted *= 4

    def entry(self, movie_id: int) -> Entry | None:
        """Return what is known of a film, or None."""
        rank = self._rank(movie_id)
        return None if rank is None else self._entry(rank)

    def shown(self, movie_id: int) -> bytes | None:
        """Return what is shown of a film, or None."""
        rank = self._rank(movie_id)
        return None if rank is None else self._shown_of(rank)

    def entries(self) -> Iterator[Entry]:
        """Yield all films, the popular first."""
        return map(self._entry, range(len(self)))

    def _rank(self, movie_id: int) -> int | None:
        place = bisect_left(self._by_id, movie_id, key=self._movie_ids.__getitem__)
        if place == len(self._by_id) or self._movie_ids[self._by_id[place]] != movie_id:
            return None
        return self._by_id[place]

    def _shown_of(self, rank: int) -> bytes:
        return self._shown[self._shown_bounds[rank] : self._shown_bounds[rank + 1]]

    def _entry(self, rank: int) -> Entry:
        titles = self._text[self._bounds[rank] : self._bounds[rank + 1]].decode().split(_END.decode())
        return Entry(
            movie_id=self._movie_ids[rank],
            popularity=self._popularity[rank],
            titles=frozenset(titles[:-1]),
            gone_at=self._gone_at[rank],
            shown=self._shown_of(rank),
        )

    def _range(self, prefix: bytes) -> tuple[int, int]:
        length, text = len(prefix), self._text

        def beginning(start: int) -> bytes:
            return text[start : start + length]

        first = bisect_left(self._starts, prefix, key=beginning)
        return first, bisect_right(self._starts, prefix, lo=first, key=beginning)

    def _rest(self, start: int) -> bytes:
        return self._text[start : self._text.index(_END, start)]


class TitleIndex:
    """All tiers and what is new since they were built. Belongs to one event loop."""

    def __init__(self, most_films: int) -> None:
        """Take how many films it holds; beyond that the least popular are left out."""
        self._most_films = most_films
        self._tiers: tuple[Tier, ...] = ()
        self._recent: dict[int, Entry] = {}
        self._recent_words: list[tuple[bytes, int]] = []
        self._dropped: set[int] = set()

    def __len__(self) -> int:
        """Return about how many films are in it."""
        return sum(map(len, self._tiers)) + len(self._recent)

    @property
    def wants_compacting(self) -> bool:
        """Whether so much is new that it slows down what is asked."""
        new = len(self._recent) + len(self._dropped)
        return new > max(_LEAST_RECENT, sum(map(len, self._tiers)) // _RECENT_SHARE)

    def find(self, prefixes: Iterable[str], most: int) -> list[int]:
        """Return at most so many films with a word that begins with one of these, the popular first."""
        encoded = [prefix.encode() for prefix in prefixes]
        hidden: Container[int] = self._recent.keys() | self._dropped if self._dropped else self._recent
        found: list[tuple[float, int]] = []
        for tier in self._tiers:
            found += tier.find(encoded, most - len(found), without=hidden)
            if len(found) >= most:
                break
        recent = {movie_id for prefix in encoded for movie_id in self._recent_ids(prefix)}
        found += [(self._recent[movie_id].popularity, movie_id) for movie_id in recent]
        found.sort(key=lambda film: (-film[0], film[1]))
        return [movie_id for _, movie_id in found[:most]]

    def entry(self, movie_id: int) -> Entry | None:
        """Return what is known of a film, or None."""
        if movie_id in self._recent or movie_id in self._dropped:
            return self._recent.get(movie_id)
        return next((entry for tier in self._tiers if (entry := tier.entry(movie_id))), None)

    def shown(self, movie_id: int) -> bytes | None:
        """Return what is shown of a film, or None when it is not known."""
        if movie_id in self._recent:
            return self._recent[movie_id].shown
        if movie_id in self._dropped:
            return None
        return next((shown for tier in self._tiers if (shown := tier.shown(movie_id)) is not None), None)

    def put(self, entry: Entry) -> None:
        """Take in a film, in place of what was known of it."""
        known = self.entry(entry.movie_id)
        if known is not None and entry.says_the_same_as(known):
            return
        self.drop(entry.movie_id)
        self._dropped.discard(entry.movie_id)
        self._recent[entry.movie_id] = entry
        for word in _words(entry):
            insort(self._recent_words, (word, entry.movie_id))

    def drop(self, movie_id: int) -> None:
        """Forget a film."""
        entry = self._recent.pop(movie_id, None)
        if entry is not None:
            for word in _words(entry):
                del self._recent_words[bisect_left(self._recent_words, (word, movie_id))]
        self._dropped.add(movie_id)

    def snapshot(self) -> "Snapshot":
        """Return what `Snapshot.compacted` builds new tiers of, in a thread if wanted."""
        return Snapshot(self._tiers, dict(self._recent), frozenset(self._dropped), self._most_films)

    def adopt(self, tiers: tuple[Tier, ...], of: "Snapshot") -> None:
        """Put new tiers in place of the old; what came after the snapshot stays on top of them."""
        later = [entry for entry in self._recent.values() if of.recent.get(entry.movie_id) != entry]
        self._tiers = tiers
        self._dropped -= of.dropped
        self._recent = {entry.movie_id: entry for entry in later}
        self._recent_words = sorted((word, entry.movie_id) for entry in later for word in _words(entry))

    def _recent_ids(self, prefix: bytes) -> Iterator[int]:
        for place in range(bisect_left(self._recent_words, (prefix, 0)), len(self._recent_words)):
            word, movie_id = self._recent_words[place]
            if not word.startswith(prefix):
                return
            yield movie_id


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The index at one moment."""

    tiers: tuple[Tier, ...]
    recent: dict[int, Entry]
    dropped: frozenset[int]
    most_films: int

    def compacted(self, more: Iterable[Entry] = (), *, now: float) -> tuple[Tier, ...]:
        """Return tiers of all that may still be served, and of `more` that was not known before."""
        old = chain.from_iterable(tier.entries() for tier in self.tiers)
        films = {
            entry.movie_id: entry
            for entry in chain(more, old, self.recent.values())
            if entry.gone_at > now and (entry.movie_id not in self.dropped or entry.movie_id in self.recent)
        }
        ranked = sorted(films.values(), key=lambda entry: (-entry.popularity, entry.movie_id))
        ranked = ranked[: self.most_films]
        tiers: list[Tier] = []
        first, size = 0, _FIRST_TIER
        while first < len(ranked):
            tiers.append(Tier(ranked[first : first + size]))
            first, size = first + size, size * _GROWTH
        return tuple(tiers)


def _words(entry: Entry) -> Iterator[bytes]:
    """Yield the titles from each word on, each once."""
    yield from {title[start:].encode() for title in entry.titles for start in word_starts(title)}
