"""Parts of messages as bytes."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from game_svc import messages
from game_svc.events import CardSwiped, Numbered, Verdict
from game_svc.frames import play_event
from popcorn.game.v1 import game_pb2

# Hypothesis adds the zone to its bounds itself.
FIRST, LAST = datetime(1970, 1, 1), datetime(2200, 1, 1)  # noqa: DTZ001
times = st.datetimes(FIRST, LAST, timezones=st.just(UTC)).map(
    lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
)
swipes = st.builds(
    CardSwiped,
    st.text(max_size=4),
    st.integers(1, 2**31 - 1),
    st.sampled_from(Verdict),
    st.text(),
    st.integers(0, 500),
)


@given(st.builds(Numbered, st.integers(1, 2**31 - 1), times, swipes))
def test_a_swipe_that_is_filled_in_in_place_is_what_every_other_way_gives(swiped: Numbered) -> None:
    response = game_pb2.PlayResponse.FromString(play_event(swiped))
    assert response == game_pb2.PlayResponse(events=[messages.event(swiped)])
    assert response.events[0].event_time.ToDatetime(tzinfo=UTC) == swiped.at
