"""Which card comes next: a function of the state alone, so every replica deals the same.

Everybody gets the same films, in an order of their own, which aims at few swipes to the first match:

1. What others have liked comes first, since it is nearest to a match, and what they love before that.
2. Then what the room is likely to like (taste.py).
3. What can no longer match goes last.

Friends look at their cards at the same time. If all began with the best one, most of them would swipe it for
nothing: one pass is enough to sink it. So the cards that nobody has liked yet are handed out like at a table:
who sits first gets the best one, the next one the second best. Whoever swipes after the others, as people do
who take turns, gets the best one there is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from game_svc import taste
from game_svc.events import CardSwiped, Event, Film, MatchFound
from game_svc.rules import likes_needed
from game_svc.state import NOBODY, Phase, Player, State, Tally

CONSIDERED: Final = 40
"""How many cards that nobody has swiped compete: the most appealing ones. It bounds what a deal costs."""

IN_STEP: Final = 3
"""Who has swiped so many cards less than somebody else is taken to look at a card all the same; who is
further behind has put the phone away, and no card waits for them."""

_Urgency: TypeAlias = tuple[bool, int, int]


def remaining(state: State, player: Player) -> int:
    """Return how many cards of the deck a player has not swiped."""
    return len(state.deck) - len(player.swipes) if state.phase is Phase.PLAYING else 0


def next_cards(state: State, player: Player, *, limit: int) -> tuple[Film, ...]:
    """Return a player's next cards, the best guess first; none unless the room is swiping."""
    return Ranking(state).next_cards(player, limit=limit)


class Ranking:
    """A room's cards in their order: what it takes to deal to all of its players, swipe after swipe.

    The order is the same for everybody, but for the cards that somebody has swiped already: of a card that a
    player has not swiped, all verdicts are those of others. Cards are ranked no further than they are dealt.
    """

    def __init__(self, state: State) -> None:
        """Begin to rank: one pass over the deck."""
        self._begin(state)

    def _begin(self, state: State) -> None:
        self.state = state
        """What the cards are ranked for."""
        self._present, self._needed = len(state.present), likes_needed(state)
        self._places = {film.movie_id: place for place, film in enumerate(state.deck)}
        # The cards that somebody has swiped, by what decides first: can they match, how many like them, how
        # many love them. What decides among those alike takes longer to find out.
        self._groups: dict[_Urgency, set[int]] = {}
        self._urgency_of: dict[int, _Urgency] = {}
        for movie_id, tally in state.tallies.items():
            self._put(movie_id, self._urgency(tally))
        untouched = (film for film in state.deck if film.movie_id not in self._urgency_of)
        self._fresh = {film.movie_id: film for film in itertools.islice(untouched, CONSIDERED)}
        self._untouched = untouched
        self._fresh_urgency = self._urgency(NOBODY)
        self._start_over()

    def follow(self, events: Iterable[Event], state: State) -> None:
        """Go on to the state after some more events. A swipe moves one card, a match none."""
        swiped = []
        for event in events:
            if isinstance(event, CardSwiped):
                swiped.append(event.movie_id)
            elif not isinstance(event, MatchFound):  # whatever else may move all
                self._begin(state)
                return
        self.state = state
        for movie_id in swiped:
            self._move(movie_id, self._urgency(state.tallies[movie_id]))
        self._start_over()

    def next_cards(self, player: Player, *, limit: int) -> tuple[Film, ...]:
        """Return a player's next cards, the best guess first; none unless the room is swiping.

        Args:
            player: One of those present.
            limit: How many at most; with one for each of those present no more than `CONSIDERED`.
        """
        state = self.state
        if state.phase is not Phase.PLAYING:
            return ()
        mine = (film for film in self._in_order() if film.movie_id not in player.swipes)
        cards = list(itertools.islice(mine, limit + self._present))
        tallies = [state.tally(film.movie_id) for film in cards]
        unliked = [place for place, tally in enumerate(tallies) if self._can_match(tally) and not tally.likes]
        if unliked:
            own = unliked[_at_the_table(state, player) % len(unliked)]
            cards.insert(unliked[0], cards.pop(own))
        return tuple(cards[:limit])

    def _put(self, movie_id: int, urgency: _Urgency) -> None:
        self._groups.setdefault(urgency, set()).add(movie_id)
        self._urgency_of[movie_id] = urgency

    def _move(self, movie_id: int, urgency: _Urgency) -> None:
        before = self._urgency_of.get(movie_id)
        if before is not None:
            self._groups[before].discard(movie_id)
        self._put(movie_id, urgency)
        if self._fresh.pop(movie_id, None) is not None:
            self._fresh.update((film.movie_id, film) for film in itertools.islice(self._untouched, 1))

    def _start_over(self) -> None:
        """Forget the order within the groups: each swipe tells a little about all cards."""
        self._ranked: dict[_Urgency, Sequence[Film]] = {}
        self._leanings: Mapping[int, float] | None = None
        self._lifts: dict[tuple[int, ...], float] = {}

    def _in_order(self) -> Iterator[Film]:
        for urgency in sorted({*self._groups, self._fresh_urgency}, reverse=True):
            ranked = self._ranked.get(urgency)
            if ranked is None:
                ranked = self._ranked[urgency] = self._rank(urgency)
            yield from ranked

    def _rank(self, urgency: _Urgency) -> Sequence[Film]:
        cards, places = self.state.cards, self._places
        swiped = sorted(self._groups.get(urgency, ()), key=places.__getitem__)
        alike = [cards[movie_id] for movie_id in swiped]
        if urgency == self._fresh_urgency:
            alike += self._fresh.values()
        can_match, _, _ = urgency
        if can_match:
            # Either leaves equal ones in the deck's order.
            alike.sort(key=self._likelihood if swiped else self._odds, reverse=True)
        return alike

    def _urgency(self, tally: Tally) -> _Urgency:
        return self._can_match(tally), tally.likes + tally.loved, tally.loved

    def _can_match(self, tally: Tally) -> bool:
        return tally.likes + self._present - tally.swiped >= self._needed

    def _likelihood(self, film: Film) -> float:
        return taste.likelihood(self._odds(film), self.state.tally(film.movie_id))

    def _odds(self, film: Film) -> float:
        lifted = self._lifts.get(film.genres)
        if lifted is None:
            if self._leanings is None:
                self._leanings = taste.leanings(self.state.genres)
            lifted = self._lifts[film.genres] = taste.lift(film, self._leanings)
        return taste.appeal(film) + lifted


def _at_the_table(state: State, player: Player) -> int:
    """Return how many of those who sit before a player are looking at a card, too."""
    swipes, looking = len(player.swipes), 0
    for other in state.players.values():
        if other.player_id == player.player_id:
            break
        looking += other.present and swipes - IN_STEP <= len(other.swipes) <= swipes
    return looking
