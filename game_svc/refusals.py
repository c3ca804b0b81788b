"""Why a room says no. Each refusal has its status, its stable reason and a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta


class GameRefusal(Exception):
    """What all refusals of a room have."""

    status = "FAILED_PRECONDITION"
    reason = ""
    sentence = ""

    def __init__(self, **metadata: str) -> None:
        super().__init__(self.sentence.format(**metadata))
        self.metadata: Mapping[str, str] = metadata


class GameNotFound(GameRefusal):
    """There is no such room, or the caller is not in it: the two look the same from outside."""

    status = "NOT_FOUND"
    reason = "GAME_NOT_FOUND"
    sentence = "There is no room {code} that you are in."


class MovieNotFound(GameRefusal):
    """TMDB has no such film."""

    status = "NOT_FOUND"
    reason = "MOVIE_NOT_FOUND"
    sentence = "There is no film with the id {movie_id}."


class PlayerNotFound(GameRefusal):
    """Nobody in the room has this id."""

    status = "NOT_FOUND"
    reason = "PLAYER_NOT_FOUND"
    sentence = "There is no player {player_id} in this room."


class AlreadyPlaying(GameRefusal):
    """One room a player at a time."""

    status = "ALREADY_EXISTS"
    reason = "ALREADY_PLAYING"
    sentence = "You are in room {code}. Leave it first."


class CodeTaken(GameRefusal):
    """There is a room with this code. Nobody sees this: whoever opens a room tries the next code."""

    status = "ALREADY_EXISTS"
    reason = "CODE_TAKEN"
    sentence = "There is a room {code} already."


class RoomFull(GameRefusal):
    """No seat is left."""

    reason = "ROOM_FULL"
    sentence = "All {seats} seats of this room are taken."


class RoomLocked(GameRefusal):
    """The host has closed the door to strangers."""

    reason = "ROOM_LOCKED"
    sentence = "The host has closed this room."


class RemovedFromGame(GameRefusal):
    """The host has taken the caller out, for good."""

    status = "PERMISSION_DENIED"
    reason = "REMOVED_FROM_GAME"
    sentence = "The host has taken you out of this room."


class HostStays(GameRefusal):
    """A host who wants to go leaves, and is not removed."""

    reason = "HOST_STAYS"
    sentence = "The host cannot be removed. Leave the room, or make somebody else host first."


class LikesNeededMissing(GameRefusal):
    """A room that counts likes has to say how many."""

    reason = "LIKES_NEEDED_MISSING"
    sentence = "With MATCH_RULE_COUNT the room has to say how many likes make a match."


class TooManyWrongCodes(GameRefusal):
    """Somebody tries codes."""

    status = "RESOURCE_EXHAUSTED"
    reason = "TOO_MANY_WRONG_CODES"
    sentence = "You have tried {most} codes that led nowhere. Wait a minute, and ask for the right one."

    def __init__(self, *, retry_after: timedelta, **metadata: str) -> None:
        super().__init__(**metadata)
        self.retry_after = retry_after


class GameNotEnded(GameRefusal):
    """Results come when the game is over or the cards have run out."""

    reason = "GAME_NOT_ENDED"
    sentence = "This game goes on. Its results come when it is over, or when everybody has run out of cards."


class CardsLeft(GameRefusal):
    """There is nothing to settle yet."""

    reason = "CARDS_LEFT"
    sentence = "Somebody still has cards to swipe."


class GameStarted(GameRefusal):
    """It can be done in the lobby only."""

    reason = "GAME_STARTED"
    sentence = "The swiping has started: that can be done in the lobby only."


class GameNotStarted(GameRefusal):
    """It can be done once the swiping has started."""

    reason = "GAME_NOT_STARTED"
    sentence = "The swiping has not started yet."


class GameEnded(GameRefusal):
    """Nothing can be done any more."""

    reason = "GAME_ENDED"
    sentence = "This game is over."


class NotHost(GameRefusal):
    """The host may, the others may not."""

    status = "PERMISSION_DENIED"
    reason = "NOT_HOST"
    sentence = "Only the host of the room can do this."


class NotEnoughPlayers(GameRefusal):
    """One needs somebody to agree with."""

    reason = "NOT_ENOUGH_PLAYERS"
    sentence = "It takes at least two players to start."


class NoMovies(GameRefusal):
    """Neither the players nor TMDB gave a film."""

    reason = "NO_MOVIES"
    sentence = "There is no film to swipe: pick some first."


class TooManyPicks(GameRefusal):
    """A player has picked all they may."""

    reason = "TOO_MANY_PICKS"
    sentence = "You have picked {most} films, which is all one may."


class TooManySwipes(GameRefusal):
    """A player has swiped and taken back without end; a room's log has to end somewhere."""

    status = "RESOURCE_EXHAUSTED"
    reason = "TOO_MANY_SWIPES"
    sentence = (
        "You have swiped {most} times in this game, those you took back among them, which is all one may."
    )


class NotInDeck(GameRefusal):
    """The deck has no such card."""

    reason = "NOT_IN_DECK"
    sentence = "The film {movie_id} is not in this game's deck."


class AlreadySwiped(GameRefusal):
    """The card has a verdict, given with another swipe id."""

    status = "ALREADY_EXISTS"
    reason = "ALREADY_SWIPED"
    sentence = "You have swiped the film {movie_id} already."


class SwipeIdReused(GameRefusal):
    """The id belongs to another swipe."""

    status = "ALREADY_EXISTS"
    reason = "SWIPE_ID_REUSED"
    sentence = "This swipe id was used for another swipe. Make a new one for each."


class TooSlow(GameRefusal):
    """A client does not read what it is sent. `last_seq` is the last number that was sent before this."""

    status = "ABORTED"
    reason = "TOO_SLOW"
    sentence = "You read too slowly. Connect again and resume after the last number you have seen."


class HelloExpected(GameRefusal):
    """A `Play` stream did not begin with a hello, or had a second one."""

    status = "INVALID_ARGUMENT"
    reason = "HELLO_EXPECTED"
    sentence = "The first message of a Play stream, and only the first, must be a hello."
