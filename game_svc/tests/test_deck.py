"""The order of the cards."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from game_svc import deck
from game_svc.deck import Ranking, next_cards, remaining
from game_svc.events import DeckSource, Event, Film, MatchRule, Numbered, SwipingStarted, Verdict
from game_svc.log_entries import from_entry, to_entry
from game_svc.rules import AddPick, Join, Leave, Start, Undo, likes_needed
from game_svc.state import State, counted_anew
from game_svc.tests.test_rules import NOW, after, evening, like, playing, trending

EVERYBODY = ("ada", "grace", "linus", "barbara")
HORROR, COMEDY, DRAMA = 27, 35, 18


def order(state: State, who: str, *, limit: int = 10) -> list[int]:
    member = state.member(who)
    assert member is not None
    return [film.movie_id for film in next_cards(state, member, limit=limit)]


def room(films: list[Film], *people: str, match_rule: MatchRule = MatchRule.EVERYBODY) -> State:
    """A room that swipes these films."""
    how = {"deck_sources": (DeckSource.TRENDING,), "match_rule": match_rule}
    joins = [Join(person, person.title()) for person in people if person != "ada"]
    return evening(*joins, Start("ada", trending(*films)), **how)


films = st.lists(
    st.builds(
        Film,
        st.integers(1, 30),
        st.floats(0, 10),
        st.lists(st.sampled_from([HORROR, COMEDY, DRAMA]), unique=True).map(tuple),
    ),
    min_size=1,
    unique_by=lambda film: film.movie_id,
)
swipes = st.lists(
    st.tuples(st.sampled_from(EVERYBODY), st.integers(0, 29), st.sampled_from(Verdict)), max_size=60
)


@st.composite
def evenings(draw: st.DrawFn) -> State:
    """Rooms in the middle of a game: cards they were dealt are swiped, and perhaps somebody has gone."""
    state = room(draw(films), *EVERYBODY, match_rule=draw(st.sampled_from(MatchRule)))
    for who, nth, verdict in draw(swipes):
        if cards := order(state, who, limit=30):
            state, _ = after(state, like(who, cards[nth % len(cards)], verdict))
    if draw(st.booleans()):
        state, _ = after(state, Leave("barbara"))
    return state


@given(evenings(), st.integers(1, 30))
def test_everybody_is_dealt_each_card_they_have_not_swiped_once(state: State, limit: int) -> None:
    for player in state.present:
        dealt = [film.movie_id for film in next_cards(state, player, limit=30)]
        assert sorted(dealt) == sorted(state.cards.keys() - player.swipes.keys())
        assert len(dealt) == remaining(state, player)
        assert dealt[:limit][:1] == order(state, player.user_id, limit=limit)[:1], "a short deal begins alike"


@given(evenings())
def test_what_can_no_longer_match_goes_last_and_what_others_like_first(state: State) -> None:
    for player in state.present:
        tallies = [state.tally(movie_id) for movie_id in order(state, player.user_id, limit=30)]
        alive = [tally.likes + len(state.present) - tally.swiped >= likes_needed(state) for tally in tallies]
        assert alive == sorted(alive, reverse=True)
        liked = [tally.likes + tally.loved for tally in tallies[: sum(alive)]]
        assert liked == sorted(liked, reverse=True)


@given(evenings())
def test_what_is_counted_swipe_by_swipe_is_what_is_counted_anew(state: State) -> None:
    again = counted_anew(state)
    assert (again.tallies, again.genres) == (state.tallies, state.genres)
    for player in state.present:
        assert order(again, player.user_id) == order(state, player.user_id)


@given(films, st.sampled_from(MatchRule), swipes, st.integers(1, 30), st.data())
def test_who_follows_the_swipes_deals_what_one_deals_who_begins_anew(
    films: list[Film],
    match_rule: MatchRule,
    swipes: list[tuple[str, int, Verdict]],
    considered: int,
    data: st.DataObject,
) -> None:
    state = room(films, *EVERYBODY, match_rule=match_rule)
    with patch.object(deck, "CONSIDERED", considered):
        ranking = Ranking(state)
        unheard: list[Event] = []
        for swipe, (who, nth, verdict) in enumerate(swipes):
            if cards := order(state, who, limit=30):
                command = replace(like(who, cards[nth % len(cards)], verdict), swipe_id=f"swipe {swipe}")
                state, events = after(state, command)
                unheard += events
                if data.draw(st.sampled_from(["keeps it", "keeps it", "takes it back"])) == "takes it back":
                    state, events = after(state, Undo(who, movie_id=command.movie_id))
                    unheard += events
            if data.draw(st.booleans(), "are they looked at"):
                ranking.follow(unheard, state)
                unheard.clear()
                for player in state.present:
                    dealt = [film.movie_id for film in ranking.next_cards(player, limit=30)]
                    assert dealt == order(state, player.user_id, limit=30)


@given(evenings(), st.permutations(EVERYBODY[1:]))
def test_who_of_the_others_likes_what_makes_no_difference(state: State, swapped: list[str]) -> None:
    """Only how many like a card counts: when the others change places, what one is dealt stays the same."""
    by_name = {player.user_id: player for player in state.players.values()}
    swipes = {
        by_name[old].player_id: by_name[new].swipes for old, new in zip(EVERYBODY[1:], swapped, strict=True)
    }
    players = {
        seat: replace(player, swipes=swipes.get(seat, player.swipes), present=True)
        for seat, player in state.players.items()
    }
    before = counted_anew(
        replace(state, players={k: replace(v, present=True) for k, v in state.players.items()})
    )
    assert order(counted_anew(replace(before, players=players)), "ada") == order(before, "ada")


def test_the_best_rated_come_first() -> None:
    assert order(playing("ada", "grace"), "ada") == [3, 2, 1]


def test_friends_who_look_at_the_same_time_begin_with_different_cards() -> None:
    state = room([Film(n, n / 10) for n in range(1, 7)], *EVERYBODY)
    assert [order(state, who)[0] for who in EVERYBODY] == [6, 5, 4, 3]
    assert order(state, "linus") == [4, 6, 5, 3, 2, 1]


def test_who_swipes_after_the_others_is_dealt_the_best_there_is() -> None:
    state = room([Film(n, n / 10) for n in range(1, 7)], *EVERYBODY)
    state, _ = after(state, like("ada", 6, Verdict.PASS))
    assert order(state, "grace")[0] == 5
    state, _ = after(state, like("grace", 5, Verdict.LIKE))
    assert [order(state, who)[0] for who in ("linus", "barbara")] == [5, 5]


def test_no_card_waits_for_somebody_who_has_put_the_phone_away() -> None:
    state = room([Film(n, n / 10) for n in range(1, 11)], "ada", "grace", "linus")
    for movie_id in (1, 2, 3):
        state, _ = after(state, like("grace", movie_id, Verdict.PASS))
        assert order(state, "grace")[0] == 9
    state, _ = after(state, like("grace", 4, Verdict.PASS))
    assert order(state, "grace")[0] == 10


def test_what_others_like_comes_earlier_and_what_they_love_earlier_still() -> None:
    state, _ = after(playing("ada", "grace", "linus"), like("ada", 1))
    assert order(state, "grace") == [1, 3, 2]
    state, _ = after(state, like("ada", 2, Verdict.SUPERLIKE))
    assert order(state, "grace") == [2, 1, 3]


def test_what_can_no_longer_match_goes_last() -> None:
    state, _ = after(playing("ada", "grace"), like("ada", 3, Verdict.PASS))
    assert order(state, "grace") == [2, 1, 3]


def test_one_pass_does_not_sink_a_film_where_a_majority_is_enough() -> None:
    films = [Film(1, 1.0), Film(2, 5.0), Film(3, 9.0)]
    state = room(films, "ada", "grace", "linus", match_rule=MatchRule.MAJORITY)
    state, _ = after(state, like("ada", 2, Verdict.PASS))
    assert order(state, "grace") == [3, 2, 1]


def test_a_genre_that_the_room_passes_on_comes_later_whoever_has_passed() -> None:
    scary = [Film(n, 8.0 - n / 100, (HORROR,)) for n in range(1, 7)]
    funny = [Film(n, 7.5 - n / 100, (COMEDY,)) for n in range(11, 17)]
    state = room([*scary, *funny], "ada", "grace")
    assert order(state, "ada")[0] == 1
    for movie_id, verdict in ((1, Verdict.PASS), (2, Verdict.PASS), (11, Verdict.LIKE), (12, Verdict.LIKE)):
        state, _ = after(state, like("ada", movie_id, verdict))
    assert order(state, "grace")[:3] == [11, 12, 13]


def test_that_somebody_has_seen_a_film_says_nothing_about_its_genre() -> None:
    films = [Film(1, 9.0, (HORROR,)), Film(2, 8.0, (HORROR,)), Film(3, 7.9, (COMEDY,))]
    state, _ = after(room(films, "ada", "grace"), like("ada", 1, Verdict.SEEN_IT))
    assert state.genres == {}
    assert order(state, "grace") == [2, 3, 1]


def test_a_deck_is_read_from_the_log_with_its_genres_and_appeals_and_an_older_one_without() -> None:
    deck = (Film(1, 8.0, (HORROR, DRAMA), 0.25), Film(2, 0.0))
    entry = to_entry(SwipingStarted(deck, ()), NOW)
    assert from_entry(7, entry) == Numbered(7, NOW, SwipingStarted(deck, ()))
    older = b'{"is":"started","at":0,"deck":[{"movie_id":1,"rating":8.0}],"empty_sources":[]}'
    assert from_entry(7, older).event == SwipingStarted((Film(1, 8.0),), ())


def test_ones_own_swipes_are_dealt_no_more() -> None:
    state, _ = after(playing("ada", "grace"), like("ada", 3))
    assert order(state, "ada") == [2, 1]
    member = state.member("ada")
    assert member is not None
    assert remaining(state, member) == 2


def test_there_are_no_cards_in_the_lobby() -> None:
    assert order(evening(AddPick("ada", Film(1, 1.0))), "ada") == []
