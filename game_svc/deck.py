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
from collections.abc import Iterator
from typing import Final

from game_svc import taste
from game_svc.events import Film
from game_svc.rules import likes_needed
from game_svc.state import NOBODY, Phase, Player, State, Tally

CONSIDERED: Final = 64
"""How many cards that nobody has swiped compete: the most appealing ones. It bounds what a deal costs."""

IN_STEP: Final = 3
"""Who has swiped so many cards less than somebody else is taken to look at a card all the same; who is
further behind has put the phone away, and no card waits for them."""


def remaining(state: State, player: Player) -> int:
    """Return how many cards of the deck a player has not swiped."""
    return len(state.deck) - len(player.swipes) if state.phase is Phase.PLAYING else 0


def next_cards(state: State, player: Player, *, limit: int) -> tuple[Film, ...]:
    """Return a player's next cards, the best guess first; none unless the room is swiping."""
    return Ranking(state).next_cards(player, limit=limit)


class Ranking:
    """A room's cards in their order, at one state: what it takes to deal to all of its players.

    The order is the same for everybody, but for the cards that somebody has swiped already: of a card that a
    player has not swiped, all verdicts are those of others. Cards are ranked no further than they are dealt.
    """

    def __init__(self, state: State) -> None:
        """Begin to rank: one pass over the deck."""
        self.state = state
        """What they are ranked for."""
        self._present, self._needed = len(state.present), likes_needed(state)
        self._leanings = taste.leanings(state.genres)
        self._lifts: dict[tuple[int, ...], float] = {}
        self._ranked: list[Film] = []
        # By what decides first, each in the deck's order: can they match, how many like them, how many love
        # them. What decides among those alike takes longer to find out.
        self._unranked: dict[tuple[bool, int, int], list[Film]] = {}
        fresh: list[Film] = []
        for film in state.deck:
            tally = state.tallies.get(film.movie_id)
            if tally is not None:
                self._unranked.setdefault(self._urgency(tally), []).append(film)
            elif len(fresh) < CONSIDERED:
                fresh.append(film)
        self._unranked.setdefault(self._urgency(NOBODY), []).extend(fresh)
        self._urgencies = sorted(self._unranked)  # the most urgent last: it is taken first

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

    def _in_order(self) -> Iterator[Film]:
        place = 0
        while True:
            while place < len(self._ranked):
                yield self._ranked[place]
                place += 1
            if not self._urgencies:
                return
            self._rank(self._urgencies.pop())

    def _rank(self, urgency: tuple[bool, int, int]) -> None:
        alike = self._unranked.pop(urgency)
        can_match, _, _ = urgency
        if can_match:
            alike.sort(key=self._likelihood, reverse=True)  # which leaves equal ones in the deck's order
        self._ranked += alike

    def _urgency(self, tally: Tally) -> tuple[bool, int, int]:
        return self._can_match(tally), tally.likes + tally.loved, tally.loved

    def _can_match(self, tally: Tally) -> bool:
        return tally.likes + self._present - tally.swiped >= self._needed

    def _likelihood(self, film: Film) -> float:
        lifted = self._lifts.get(film.genres)
        if lifted is None:
            lifted = self._lifts[film.genres] = taste.lift(film, self._leanings)
        return taste.likelihood(film, lifted, self.state.tally(film.movie_id))


def _at_the_table(state: State, player: Player) -> int:
    """Return how many of those who sit before a player are looking at a card, too."""
    swipes = len(player.swipes)
    before = itertools.takewhile(lambda other: other.player_id != player.player_id, state.present)
    return sum(swipes - IN_STEP <= len(other.swipes) <= swipes for other in before)
