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

import heapq
import itertools
from typing import Final

from game_svc import taste
from game_svc.events import Film
from game_svc.rules import likes_needed
from game_svc.state import Phase, Player, State, Tally

CONSIDERED: Final = 64
"""How many cards that nobody has swiped compete: the most appealing ones. It bounds what a deal costs."""

IN_STEP: Final = 3
"""Who has swiped so many cards less than somebody else is taken to look at a card all the same; who is
further behind has put the phone away, and no card waits for them."""


def remaining(state: State, player: Player) -> int:
    """Return how many cards of the deck a player has not swiped."""
    return len(state.deck) - len(player.swipes) if state.phase is Phase.PLAYING else 0


def next_cards(state: State, player: Player, *, limit: int) -> tuple[Film, ...]:
    """Return a player's next cards, the best guess first; none unless the room is swiping.

    One pass over the deck, and an order of those that somebody has swiped and of `CONSIDERED` others.
    """
    if state.phase is not Phase.PLAYING:
        return ()
    present, needed = len(state.present), likes_needed(state)
    leanings = taste.leanings(state.genres)
    most = limit + present

    def can_match(tally: Tally) -> bool:
        return tally.likes + present - tally.swiped >= needed

    def urgency(film: Film) -> tuple[bool, int, int, float]:
        """What a card is ordered by: can it match, how many like it, how many love it, will the next one."""
        tally = state.tally(film.movie_id)  # of the others: the player has not swiped it
        if not can_match(tally):
            return False, tally.likes + tally.loved, tally.loved, 0.0
        return True, tally.likes + tally.loved, tally.loved, taste.likelihood(film, leanings, tally)

    begun: list[Film] = []
    fresh: list[Film] = []
    for film in state.deck:
        if film.movie_id not in player.swipes:
            (begun if film.movie_id in state.tallies else fresh).append(film)
    # The deck lies in order of appeal already: only what genres mean tonight can change that.
    considered = begun + fresh[: max(CONSIDERED, most) if leanings else most]
    # Like sorting, this leaves cards that are otherwise equal in the deck's order.
    cards = heapq.nlargest(most, considered, key=urgency)
    tallies = [state.tally(film.movie_id) for film in cards]
    unliked = [place for place, tally in enumerate(tallies) if can_match(tally) and not tally.likes]
    if unliked:
        own = unliked[_at_the_table(state, player) % len(unliked)]
        cards.insert(unliked[0], cards.pop(own))
    return tuple(cards[:limit])


def _at_the_table(state: State, player: Player) -> int:
    """Return how many of those who sit before a player are looking at a card, too."""
    swipes = len(player.swipes)
    before = itertools.takewhile(lambda other: other.player_id != player.player_id, state.present)
    return sum(swipes - IN_STEP <= len(other.swipes) <= swipes for other in before)
