"""A room kept the plain way: lists, sets and dictionaries, and everything looked at again after each command.

It says what a command has to bring about, and was written from the rules and not from the code. It shares the
events' and commands' names with the code and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from game_svc import events as happened
from game_svc import rules as wanted
from game_svc.events import AfterMatch, DeckSource, EndCause, Film, MatchRule, Settings, Verdict
from game_svc.taste import in_order_of_appeal

LIKES = {Verdict.LIKE, Verdict.SUPERLIKE}


@dataclass
class Somebody:
    player_id: str
    here: bool = True
    thrown_out: bool = False
    forgotten: bool = False
    picks: list[Film] = field(default_factory=list)
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    slips: dict[str, tuple[int, Verdict]] = field(default_factory=dict)
    """What each swipe id was used for."""
    standing: dict[int, str] = field(default_factory=dict)
    """The swipe id of each verdict that stands."""


class Refused(Exception):
    """The room has to say no, with this reason."""


class PlainRoom:
    def __init__(self) -> None:
        self.name = ""
        self.settings = Settings()
        self.state = "nothing"
        self.locked = False
        self.host = ""
        self.people: dict[str, Somebody] = {}
        self.deck: list[Film] = []
        self.matches: set[int] = set()
        self.told_out_of_cards = False
        self.run_offs = 0
        self.was_drawn = False

    def expect(self, command: wanted.Command) -> list[happened.Event]:
        """Do what a command wants, and return all that has to happen because of it, in order.

        Matches that are lost or found together come in the order of their film ids.

        Raises:
            Refused: With the reason.
        """
        name = re.sub("(?<!^)([A-Z])", r"_\1", type(command).__name__).lower()
        return list(getattr(self, f"on_{name}")(command))

    # ---- who is there ----------------------------------------------------------------------------------

    def on_open(self, command: wanted.Open) -> Iterable[happened.Event]:
        self.name, self.settings, self.state = command.room_name, command.settings, "lobby"
        self.people[command.user_id] = Somebody("p1")
        self.host = command.user_id
        yield happened.RoomOpened(command.game_id, command.code, command.room_name, command.settings)
        yield happened.PlayerJoined("p1", command.user_id, command.user_name, 0, 0, command.guest)
        yield happened.HostChanged("p1")

    def on_join(self, command: wanted.Join) -> Iterable[happened.Event]:
        who = self.people.get(command.user_id)
        if who and who.here:
            return
        if who and who.thrown_out:
            raise Refused("REMOVED_FROM_GAME")
        if self.state == "ended":
            raise Refused("GAME_ENDED")
        if not who and self.state == "playing":
            raise Refused("GAME_STARTED")
        if not who and self.locked:
            raise Refused("ROOM_LOCKED")
        if len(self._here()) == 20:
            raise Refused("ROOM_FULL")
        if not who:
            who = self.people[command.user_id] = Somebody(f"p{len(self.people) + 1}")
        who.here = True
        yield happened.PlayerJoined(
            who.player_id,
            command.user_id,
            command.user_name,
            len(who.verdicts),
            self._picked(),
            command.guest,
        )
        yield from self._look_again()

    def on_leave(self, command: wanted.Leave) -> Iterable[happened.Event]:
        who = self._me(command.user_id)
        who.here = False
        yield happened.PlayerLeft(who.player_id, self._picked())
        if self.state == "ended":
            return
        if not self._here():
            yield self._end(EndCause.EMPTY)
            return
        if self.host == command.user_id:
            self.host = next(name for name, other in self.people.items() if other.here)
            yield happened.HostChanged(self.people[self.host].player_id)
        yield from self._look_again()

    def on_erase(self, command: wanted.Erase) -> Iterable[happened.Event]:
        who = self.people.get(command.user_id)
        if not who:
            return
        if who.here:
            yield from self.on_leave(wanted.Leave(command.user_id))
        self.people = {
            (f"nobody {other.player_id}" if other is who else name): other
            for name, other in self.people.items()
        }
        yield happened.PlayerErased(who.player_id)

    def on_remove(self, command: wanted.Remove) -> Iterable[happened.Event]:
        self._only_host(command.user_id)
        self._not_over()
        who = self._somebody(command.player_id)
        if not who:
            raise Refused("PLAYER_NOT_FOUND")
        if who is self.people[self.host]:
            raise Refused("HOST_STAYS")
        if who.thrown_out:
            return
        who.here, who.thrown_out = False, True
        yield happened.PlayerRemoved(who.player_id, self._picked())
        yield from self._look_again()

    def on_transfer_host(self, command: wanted.TransferHost) -> Iterable[happened.Event]:
        self._me(command.user_id)
        self._not_over()
        if command.player_id == self.people[self.host].player_id:
            return
        if command.absent_host != self.people[self.host].player_id:
            self._only_host(command.user_id)
        who = self._somebody(command.player_id)
        if not who or not who.here:
            raise Refused("PLAYER_NOT_FOUND")
        self.host = next(name for name, other in self.people.items() if other is who)
        yield happened.HostChanged(who.player_id)

    # ---- the lobby -------------------------------------------------------------------------------------

    def on_change(self, command: wanted.Change) -> Iterable[happened.Event]:
        self._only_host(command.user_id)
        self._lobby_only()
        name = self.name if command.name is None else command.name
        how = replace(self.settings, **command.settings)
        if how.match_rule != MatchRule.COUNT:
            how = replace(how, likes_needed=0)
        elif how.likes_needed == 0:
            raise Refused("LIKES_NEEDED_MISSING")
        if name == self.name and how == self.settings:
            return
        self.name, self.settings = name, how
        yield happened.RoomChanged(name, how)

    def on_lock(self, command: wanted.Lock) -> Iterable[happened.Event]:
        self._only_host(command.user_id)
        self._not_over()
        if self.locked != command.locked:
            self.locked = command.locked
            yield happened.DoorChanged(command.locked)

    def on_add_pick(self, command: wanted.AddPick) -> Iterable[happened.Event]:
        who = self._me(command.user_id)
        self._lobby_only()
        if any(film.movie_id == command.film.movie_id for film in who.picks):
            return
        who.picks.append(command.film)
        yield happened.PickAdded(who.player_id, command.film, self._picked())

    def on_remove_pick(self, command: wanted.RemovePick) -> Iterable[happened.Event]:
        who = self._me(command.user_id)
        self._lobby_only()
        kept = [film for film in who.picks if film.movie_id != command.movie_id]
        if len(kept) < len(who.picks):
            who.picks = kept
            yield happened.PickRemoved(who.player_id, command.movie_id, self._picked())

    def on_start(self, command: wanted.Start) -> Iterable[happened.Event]:
        self._only_host(command.user_id)
        if self.state == "playing":
            return
        self._lobby_only()
        if len(self._here()) < 2:
            raise Refused("NOT_ENOUGH_PLAYERS")
        deck, empty = self._mix(command.found, command.left_out)
        if not deck:
            raise Refused("NO_MOVIES")
        self.state, self.deck = "playing", list(in_order_of_appeal(deck, command.appeals))
        yield happened.SwipingStarted(tuple(self.deck), tuple(empty))

    def _mix(
        self, found: Mapping[DeckSource, Iterable[Film]], left_out: frozenset[int]
    ) -> tuple[list[Film], list[DeckSource]]:
        heaps = {source: list(films) for source, films in found.items()}
        heaps[DeckSource.PICKS] = [film for who in self._here() for film in who.picks]
        for source, films in heaps.items():
            heaps[source] = [film for film in films if film.movie_id not in left_out]
        sources = list(dict.fromkeys(self.settings.deck_sources))
        empty: list[DeckSource] = [
            source for source in sources if source != DeckSource.TRENDING and not heaps.get(source)
        ]
        if empty and DeckSource.TRENDING not in sources:
            sources.append(DeckSource.TRENDING)
        deck: list[Film] = list(heaps[DeckSource.PICKS]) if DeckSource.PICKS in sources else []
        turns = [DeckSource.BACKLOGS, DeckSource.DISCOVER, DeckSource.TRENDING]
        for place in range(500):
            deck += [
                heaps[source][place]
                for source in turns
                if source in sources and place < len(heaps.get(source, []))
            ]
        once: list[Film] = []
        for film in deck:
            if film.movie_id not in [known.movie_id for known in once]:
                once.append(film)
        return once[: self.settings.max_movies], empty

    # ---- the swiping -----------------------------------------------------------------------------------

    def on_give_verdict(self, command: wanted.GiveVerdict) -> Iterable[happened.Event]:
        who = self._me(command.user_id)
        if command.swipe_id in who.slips:
            if who.slips[command.swipe_id] != (command.movie_id, command.verdict):
                raise Refused("SWIPE_ID_REUSED")
            return
        self._playing_only()
        if command.movie_id not in [film.movie_id for film in self.deck]:
            raise Refused("NOT_IN_DECK")
        if command.movie_id in who.verdicts:
            raise Refused("ALREADY_SWIPED")
        who.verdicts[command.movie_id] = command.verdict
        who.slips[command.swipe_id] = (command.movie_id, command.verdict)
        who.standing[command.movie_id] = command.swipe_id
        yield happened.CardSwiped(
            who.player_id, command.movie_id, command.verdict, command.swipe_id, len(who.verdicts)
        )
        yield from self._look_again()

    def on_undo(self, command: wanted.Undo) -> Iterable[happened.Event]:
        who = self._me(command.user_id)
        swipe_id = command.swipe_id or who.standing.get(command.movie_id, "")
        movie_id = next((movie for movie, standing in who.standing.items() if standing == swipe_id), None)
        if movie_id is None:
            return
        self._playing_only()
        liked = who.verdicts.pop(movie_id) in LIKES
        del who.standing[movie_id]
        self.told_out_of_cards = False
        yield happened.SwipeUndone(who.player_id, movie_id, swipe_id, len(who.verdicts))
        if len(self._here()) >= 2:
            yield from self._look_again()
        elif liked and movie_id in self.matches:
            self.matches.discard(movie_id)
            yield happened.MatchWithdrawn(movie_id)

    # ---- the end ---------------------------------------------------------------------------------------

    def on_end(self, command: wanted.End) -> Iterable[happened.Event]:
        self._only_host(command.user_id)
        if self.state != "ended":
            yield self._end(EndCause.HOST)

    def on_start_run_off(self, command: wanted.StartRunOff) -> Iterable[happened.Event]:
        self._only_host(command.user_id)
        if self.run_offs and not any(who.verdicts for who in self._here()):
            return
        self._playing_only()
        if not self._all_done():
            raise Refused("CARDS_LEFT")
        best = self._best()
        for movie_id in sorted(self.matches):
            yield happened.MatchWithdrawn(movie_id)
        self.matches, self.deck, self.told_out_of_cards = set(), best, False
        self.run_offs += 1
        for who in self.people.values():
            who.verdicts, who.standing = {}, {}
        yield happened.RunOffStarted(tuple(best), self.run_offs + 1)

    def on_draw(self, command: wanted.Draw) -> Iterable[happened.Event]:
        self._only_host(command.user_id)
        if self.was_drawn:
            return
        self._playing_only()
        if not self._all_done():
            raise Refused("CARDS_LEFT")
        most = max(self._likes(film.movie_id) for film in self.deck)
        between = [film.movie_id for film in self.deck if self._likes(film.movie_id) == most]
        if most == 0:
            between = [film.movie_id for film in self._best()]
        self.was_drawn = True
        winner = wanted.drawn(command.seed, between)
        yield happened.WinnerDrawn(winner, command.seed, tuple(between))
        yield self._end(EndCause.DRAW)

    def _best(self) -> list[Film]:
        def nearness(film: Film) -> tuple[int, int, float]:
            superlikes = [who for who in self._here() if who.verdicts.get(film.movie_id) == "superlike"]
            return -self._likes(film.movie_id), -len(superlikes), -film.rating

        best = sorted(self.deck, key=nearness)
        liked = [film for film in best if self._likes(film.movie_id)]
        return liked[:5] if len(liked) >= 2 else best[:2]

    # ---- looking ---------------------------------------------------------------------------------------

    def _look_again(self) -> Iterable[happened.Event]:
        if self.state != "playing":
            return
        here = self._here()
        if len(here) >= 2:
            needed = {
                MatchRule.EVERYBODY: len(here),
                MatchRule.MAJORITY: len(here) // 2 + 1,
                MatchRule.COUNT: min(self.settings.likes_needed, len(here)),
            }[self.settings.match_rule]
            needed = max(needed, 2)
            now = {film.movie_id for film in self.deck if self._likes(film.movie_id) >= needed}
            lost, new = self.matches - now, now - self.matches
            self.matches = now
            for movie_id in sorted(lost):
                yield happened.MatchWithdrawn(movie_id)
            for movie_id in sorted(new):
                yield happened.MatchFound(movie_id, tuple(who.player_id for who in here))
            if new and self.settings.after_match == AfterMatch.END:
                yield self._end(EndCause.MATCH)
                return
        done = self._all_done()
        if done and not self.told_out_of_cards:
            yield happened.CardsRanOut()
        self.told_out_of_cards = done

    def _end(self, cause: EndCause) -> happened.Event:
        self.state = "ended"
        return happened.GameEnded(cause)

    def _here(self) -> list[Somebody]:
        return [who for who in self.people.values() if who.here]

    def _me(self, name: str) -> Somebody:
        who = self.people.get(name)
        if not who or not who.here:
            raise Refused("GAME_NOT_FOUND")
        return who

    def _somebody(self, player_id: str) -> Somebody | None:
        return next((who for who in self.people.values() if who.player_id == player_id), None)

    def _picked(self) -> int:
        return len({film.movie_id for who in self._here() for film in who.picks})

    def _likes(self, movie_id: int) -> int:
        return sum(who.verdicts.get(movie_id) in LIKES for who in self._here())

    def _all_done(self) -> bool:
        return all(film.movie_id in who.verdicts for who in self._here() for film in self.deck)

    def _only_host(self, name: str) -> None:
        self._me(name)
        if name != self.host:
            raise Refused("NOT_HOST")

    def _not_over(self) -> None:
        if self.state == "ended":
            raise Refused("GAME_ENDED")

    def _lobby_only(self) -> None:
        self._not_over()
        if self.state == "playing":
            raise Refused("GAME_STARTED")

    def _playing_only(self) -> None:
        self._not_over()
        if self.state == "lobby":
            raise Refused("GAME_NOT_STARTED")
