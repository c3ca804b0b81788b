"""What results tell, and above all what they do not."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from game_svc import messages
from game_svc.events import Film, Verdict
from game_svc.results import coarse, genre_counts, habits, near_misses, taste
from game_svc.rules import AddPick, Command, End, GiveVerdict, Join, Leave, Start, StartRunOff
from game_svc.state import State
from game_svc.tests.test_rules import after, evening, like

DRAMA, HORROR = 18, 27
PEOPLE = ["ada", "grace", "linus"]
FILMS = [Film(number, float(number % 10), (DRAMA,) if number % 2 else (HORROR,)) for number in range(1, 21)]


def swiped(*verdicts: str, ended: bool = True) -> State:
    """A room where each person gives each film the verdict at its place: + likes, - passes, . does not."""
    people = PEOPLE[: len(verdicts)]
    deck = FILMS[: len(verdicts[0])]
    commands: list[Command] = [
        *(Join(person, person.title()) for person in people[1:]),
        *(AddPick("ada", film) for film in deck),
        Start("ada", {}),
    ]
    for person, given_ in zip(people, verdicts, strict=True):
        for film, sign in zip(deck, given_, strict=True):
            if sign != ".":
                verdict = Verdict.LIKE if sign == "+" else Verdict.PASS
                commands.append(like(person, film.movie_id, verdict))
    return evening(*commands, *([End("ada")] if ended else []))


def test_near_misses_are_films_that_somebody_likes_the_nearest_first() -> None:
    state = swiped("++-+", "+---", "-+--")
    assert [(miss.movie_id, miss.percent) for miss in near_misses(state)] == [(2, 67), (1, 67), (4, 33)]


def test_who_leaves_after_the_end_still_counts() -> None:
    state = swiped("++-", "+--", "-+-")
    later, _ = after(state, Leave("linus"))
    assert near_misses(later) == near_misses(state)
    assert habits(later)[2].swipes == 3


def test_between_two_there_is_no_majority() -> None:
    state = swiped("+-" * 10, "-+" * 10)
    assert [own.with_majority_percent for own in habits(state)] == [0, 0]
    assert [own.liked_percent for own in habits(state)] == [50, 50]


def test_who_was_how_often_with_the_majority() -> None:
    state = swiped("+" * 20, "+" * 10 + "-" * 10, "-" * 20)
    assert [own.with_majority_percent for own in habits(state)] == [50, 90, 50]


def test_what_the_group_likes_is_told_by_its_likes_alone() -> None:
    state = swiped("+-+-+-+-+-+-", "+-+-+-+++-+-")
    assert dict(taste(state)) == {DRAMA: 92, HORROR: 8}
    assert genre_counts(state) == {}, "between two, what is not one's own is the other's"
    assert taste(swiped("+++", "---")) == {}, "a few likes are no taste"


def test_statistics_are_over_all_rounds() -> None:
    state = swiped("+-+-+-+-+-", "-+-+-+-+-+", ended=False)
    state, _ = after(state, StartRunOff("ada"))
    for film in state.deck:
        state, _ = after(state, GiveVerdict("ada", f"again-{film.movie_id}", film.movie_id, Verdict.PASS))
    state, _ = after(state, End("ada"))
    assert [own.swipes for own in habits(state)] == [15, 10]
    assert near_misses(state) == [], "and near misses of the last one"


@given(st.integers(0, 500), st.integers(0, 500))
def test_a_coarse_number_fits_more_than_one_count(part: int, whole: int) -> None:
    """Whatever it says, at least two different counts would make it say the same."""
    if part > whole or whole < 10:
        return
    told = coarse(part, whole)
    assert 10 <= told <= 90
    assert told % 10 == 0
    assert any(coarse(other, whole) == told for other in (part - 1, part + 1) if 0 <= other <= whole)


verdict_rows = st.text("+-", min_size=12, max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.lists(verdict_rows, min_size=3, max_size=3), st.integers(0, 11))
def test_no_answer_names_a_film_that_was_only_passed_on(rows: list[str], place: int) -> None:
    rows = [row[:place] + "-" + row[place + 1 :] for row in rows]
    state = swiped(*rows)
    answer = messages.results(state)
    assert FILMS[place].movie_id not in messages.named_movies(answer)


@settings(max_examples=200, deadline=None)
@given(st.lists(verdict_rows, min_size=3, max_size=3), st.permutations([0, 1, 2]))
def test_films_are_told_by_how_many_like_them_and_not_by_who(rows: list[str], order: list[int]) -> None:
    """The same verdicts given by other people name the same films with the same numbers."""
    straight, mixed = messages.results(swiped(*rows)), messages.results(swiped(*(rows[at] for at in order)))
    for answer in (straight, mixed):
        answer.ClearField("players")
        for match in answer.matches:
            match.ClearField("match_time")
    assert sorted(match.movie_id for match in straight.matches) == sorted(m.movie_id for m in mixed.matches)
    assert (straight.near_misses, straight.genres) == (mixed.near_misses, mixed.genres)
