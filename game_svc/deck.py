"""Which card comes next: a function of the state alone, so every replica deals the same.

Everybody gets the same films, in an order of their own: first what others have liked, since it is nearest
to a match; then what most people rate well; last what can no longer match. `next_cards` costs one pass over
the deck.
"""

from __future__ import annotations

import heapq

from game_svc.events import Film
from game_svc.rules import likes_needed
from game_svc.state import Phase, Player, State


def remaining(state: State, player: Player) -> int:
    """Return how many cards of the deck a player has not swiped."""
    return len(state.deck) - len(player.swipes) if state.phase is Phase.PLAYING else 0


def next_cards(state: State, player: Player, *, limit: int) -> tuple[Film, ...]:
    """Return a player's next cards, the best guess first; none unless the room is swiping."""
    if state.phase is not Phase.PLAYING:
        return ()
    present, needed = len(state.present), likes_needed(state)

    def urgency(film: Film) -> tuple[bool, int, int, float]:
        """What a card is ordered by: can it match, how many like it, how many love it, its rating."""
        tally = state.tally(film.movie_id)  # of the others: the player has not swiped it
        can_match = tally.likes + present - tally.swiped >= needed
        return can_match, tally.likes + tally.loved, tally.loved, film.rating

    unseen = (film for film in state.deck if film.movie_id not in player.swipes)
    # Like sorting, this leaves cards that are otherwise equal in the deck's order.
    return tuple(heapq.nlargest(limit, unseen, key=urgency))
