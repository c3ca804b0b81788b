"""All that is kept about somebody, as they get it."""

from collections.abc import Iterable

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from backlog_svc.entries import Entry
from backlog_svc.game_messages import game_data
from backlog_svc.games import FinishedGame
from backlog_svc.match_messages import match_data
from backlog_svc.matches import Match
from backlog_svc.messages import entry_data
from popcorn.backlog.v1 import backlog_pb2


def export_struct(
    user_id: str,
    *,
    entries: Iterable[Entry],
    matches: Iterable[Match],
    games: Iterable[FinishedGame],
    imports: Iterable[backlog_pb2.ImportJob],
) -> Struct:
    """Return it, each part in the JSON of the contract's messages."""
    data = Struct()
    data.update(
        {
            "entries": [entry_data(entry) for entry in entries],
            "movieNights": [match_data(match, user_id) for match in matches],
            "games": [game_data(game, user_id) for game in games],
            "imports": [json_format.MessageToDict(job) for job in imports],
        }
    )
    return data
