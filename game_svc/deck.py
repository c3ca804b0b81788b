"""Which card comes next: a function of the state alone, so every replica deals the same.

Everybody gets the same films, in an order of their own: first what others have liked, since it is nearest
to a match; then what most people rate well; last what can no longer match. `next_cards` costs one pass over
the deck.
"""

from __future__ import annotations

from game_svc.events import Film, Verdict
from game_svc.rules import likes_needed
from game_svc.state import Phase, Player, State


def remaining(state: State, player: Player) -> int:
    """Return how many cards of the deck a player has not swiped."""
    return len(state.deck) - len(player.swipes) if state.phase is Phase.PLAYING else 0


def next_cards(state: State, player: Player, *, limit: int) -> tuple[Film, ...]:
    """Return a player's next cards, the best guess first; none unless the room is swiping."""
    if state.phase is not Phase.PLAYING:
        return ()
    others = [other for other in state.present if other.player_id != player.player_id]
    needed = likes_needed(state)
    unseen = [film for film in state.deck if film.movie_id not in player.swipes]
    # Python's sort is stable, so cards that are otherwise equal keep the deck's order.
    unseen.sort(key=lambda film: _urgency(film, others, needed), reverse=True)
    return tuple(unseen[:limit])


def _urgency(film: Film, others: list[Player], needed: int) -> tuple[bool, int, int, float]:
    """Return what a card is ordered by: can it match, how many like it, how many love it, its rating."""
    swipes = [swipe for other in others if (swipe := other.swipes.get(film.movie_id)) is not None]
    likes = sum(swipe.verdict.likes for swipe in swipes)
    undecided = 1 + len(others) - len(swipes)
    loved = sum(swipe.verdict is Verdict.SUPERLIKE for swipe in swipes)
    return (likes + undecided >= needed, likes + loved, loved, film.rating)
