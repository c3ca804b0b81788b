"""What people can change about their account, and what they are told is held about them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.field_mask_pb2 import FieldMask

from gateway.tests.conftest import Refused, World, as_caller, entry
from gateway.tests.refusals import refusal
from popcorn.gateway.v1 import account_pb2, auth_pb2

Subject = Callable[[], str]
Account = account_pb2.Account


def update(*paths: str, **values: str) -> account_pb2.UpdateAccountRequest:
    account = json_format.ParseDict(values, Account())
    return account_pb2.UpdateAccountRequest(account=account, update_mask=FieldMask(paths=paths))


@pytest.fixture
async def ada(world: World, somebody: Subject) -> auth_pb2.SignInResponse:
    return await world.sign_in(somebody(), display_name="Ada")


async def account_of(world: World, who: auth_pb2.SignInResponse) -> Account:
    return (await world.accounts.GetAccount(account_pb2.GetAccountRequest(), metadata=as_caller(who))).account


@pytest.mark.parametrize(
    ("request_", "changed"),
    [
        (update("display_name", display_name="Countess"), {"display_name": "Countess"}),
        (update("display_name", display_name="Countess", region="DE"), {"display_name": "Countess"}),
        (update("region", "language", region="de", language="PT-br"), {"region": "DE", "language": "pt-BR"}),
        (update(region="GB"), {"region": "GB"}),
        (update(), {}),
        (update("language"), {"language": ""}),
        (update("*", display_name="A", language="de"), {"display_name": "A", "language": "de", "region": ""}),
        (
            update(display_name="👨\u200d👩\u200d👧\u200d👦" * 50),
            {"display_name": "👨\u200d👩\u200d👧\u200d👦" * 50},
        ),
        (update(display_name="  two\u2003words "), {"display_name": "two words"}),
        (update(region="XK"), {"region": "XK"}),
    ],
)
async def test_an_update_changes_what_its_mask_names_and_nothing_else(
    world: World,
    ada: auth_pb2.SignInResponse,
    request_: account_pb2.UpdateAccountRequest,
    changed: dict[str, str],
) -> None:
    me = as_caller(ada)
    first = update("language", "region", language="fr", region="FR")
    before = (await world.accounts.UpdateAccount(first, metadata=me)).account
    after = (await world.accounts.UpdateAccount(request_, metadata=me)).account
    for field, value in changed.items():
        setattr(before, field, value)
    assert after == before
    assert await account_of(world, ada) == after


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (update("display_name"), {"account.display_name"}),
        (update(display_name="n" * 51), {"account.display_name"}),
        (update(display_name="\u200b"), {"account.display_name"}),
        (update(display_name="a\x00b"), {"account.display_name"}),
        (update(language="deutsch!"), {"account.language"}),
        (update(language="de,en"), {"account.language"}),
        (update(language="de" + "-x" * 40), {"account.language"}),
        (update(region="ZZ"), {"account.region"}),
        (update(region="GBR"), {"account.region"}),
        (update("guest"), {"update_mask"}),
        (update("user_id"), {"update_mask"}),
        (update("account.display_name", display_name="A"), {"update_mask"}),
        (update("displayName", display_name="A"), {"update_mask"}),
        (
            update("*", "nothing", language="?", region="?"),
            {"account.display_name", "account.language", "account.region", "update_mask"},
        ),
    ],
)
async def test_what_cannot_be_kept_is_named_and_changes_nothing(
    world: World,
    ada: auth_pb2.SignInResponse,
    request_: account_pb2.UpdateAccountRequest,
    fields: set[str],
) -> None:
    seen = await refusal(world.accounts.UpdateAccount(request_, metadata=as_caller(ada)))
    assert (seen.code, seen.fields) == ("INVALID_ARGUMENT", fields)
    assert await account_of(world, ada) == ada.account


async def test_a_new_name_is_in_the_next_token_and_nobody_elses_changes(
    world: World, ada: auth_pb2.SignInResponse, somebody: Subject
) -> None:
    bob = await world.sign_in(somebody(), display_name="Bob")
    await world.accounts.UpdateAccount(update(display_name="Ädä 🍿"), metadata=as_caller(ada))
    assert (await account_of(world, bob)).display_name == "Bob"
    refreshed = await world.auth.RefreshSession(
        auth_pb2.RefreshSessionRequest(refresh_token=ada.tokens.refresh_token)
    )
    token = auth_pb2.SignInResponse(tokens=refreshed.tokens)
    assert (await account_of(world, token)).display_name == "Ädä 🍿"


async def test_a_guest_may_change_their_name_too(world: World) -> None:
    guest = await world.auth.SignInAsGuest(auth_pb2.SignInAsGuestRequest(display_name="Guest"))
    token = auth_pb2.SignInResponse(tokens=guest.tokens)
    answer = await world.accounts.UpdateAccount(update(display_name="Popcorn"), metadata=as_caller(token))
    assert (answer.account.display_name, answer.account.guest) == ("Popcorn", True)


# ---- everything that is held ----


async def export(world: World, who: auth_pb2.SignInResponse) -> account_pb2.ExportAccountResponse:
    return await world.accounts.ExportAccount(account_pb2.ExportAccountRequest(), metadata=as_caller(who))


async def test_an_export_holds_all_that_was_put_in_and_nothing_of_others(
    world: World, somebody: Subject
) -> None:
    subject, other = somebody(), somebody()
    first = await world.sign_in(subject, display_name="Ada")
    second = await world.sign_in(subject)
    bob = await world.sign_in(other, display_name="Bob")
    await world.auth.SignOut(auth_pb2.SignOutRequest(), metadata=as_caller(first))
    await world.accounts.UpdateAccount(update(region="GB", language="en"), metadata=as_caller(second))
    world.backlogs.entries = {7: entry(7, "a note of Ada's")}

    answer = await export(world, second)

    assert answer.account == await account_of(world, second)
    assert [session.current for session in answer.sessions] == [True, False]
    services = {name: json_format.MessageToDict(data) for name, data in answer.services.items()}
    assert set(services) == {"gateway", "backlog_svc", "game_svc"}
    assert services["backlog_svc"]["entries"][0]["note"] == "a note of Ada's"
    assert services["game_svc"]["rooms"][0]["code"] == "ABCD2345"
    own: Any = services["gateway"]
    assert own["account"]["display_name"] == "Ada"
    assert (own["account"]["language"], own["account"]["region"]) == ("en", "GB")
    assert [identity["subject"] for identity in own["identities"]] == [subject]
    assert [identity["email"] for identity in own["identities"]] == [f"{subject}@example.com"]
    assert sorted(session["end_time"] is None for session in own["sessions"]) == [False, True]
    assert len(own["refreshes"]) == 2
    for asked in (*world.backlogs.script.asked, *world.people.script.asked):
        assert getattr(asked, "user_id", None) == first.account.user_id
    text = json_format.MessageToJson(answer)
    for foreign in (bob.account.user_id, other, "Bob"):
        assert foreign not in text
    for secret in ("token_hash", "sealed", second.tokens.refresh_token):
        assert secret not in text


@pytest.mark.parametrize("service", ["backlog_svc", "game_svc"])
@pytest.mark.parametrize("status", ["UNAVAILABLE", "NOT_FOUND", "UNIMPLEMENTED"])
async def test_half_an_export_is_none(
    world: World, ada: auth_pb2.SignInResponse, service: str, status: str
) -> None:
    script = world.backlogs.script if service == "backlog_svc" else world.people.script
    script.failure = Refused(status, "SOME_REASON")
    seen = await refusal(export(world, ada))
    assert (seen.code, seen.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    assert seen.metadata == {"dependency": service}


async def test_an_export_does_not_wait_for_a_service_for_ever(
    world: World, ada: auth_pb2.SignInResponse
) -> None:
    world.people.script.hanging = True
    async with asyncio.timeout(60):
        seen = await refusal(export(world, ada))
    assert (seen.code, seen.metadata) == ("UNAVAILABLE", {"dependency": "game_svc"})
