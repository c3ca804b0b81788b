"""Sessions as their owners see them: on which devices, which to end, and who else may."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from google.protobuf.message import Message

from gateway.tests.conftest import World, as_caller
from gateway.tests.refusals import refusal
from popcorn.gateway.v1 import account_pb2, auth_pb2

Subject = Callable[[], str]


async def listed(world: World, signed_in: Message, **request: object) -> account_pb2.ListSessionsResponse:
    assert isinstance(signed_in, auth_pb2.SignInResponse)
    return await world.accounts.ListSessions(
        account_pb2.ListSessionsRequest(**request),  # type: ignore[arg-type]  # plain numbers and texts
        metadata=as_caller(signed_in),
    )


async def sign_in_from(world: World, subject: str, *headers: tuple[str, str]) -> auth_pb2.SignInResponse:
    token = world.google.sign(world.google_claims(subject))
    request = auth_pb2.SignInRequest(provider=account_pb2.PROVIDER_GOOGLE, id_token=token)
    return await world.auth.SignIn(request, metadata=headers)


async def revoke(world: World, caller: auth_pb2.SignInResponse, session_id: str) -> None:
    request = account_pb2.RevokeSessionRequest(session_id=session_id)
    await world.accounts.RevokeSession(request, metadata=as_caller(caller))


async def test_people_see_their_devices_the_latest_used_first(world: World, somebody: Subject) -> None:
    subject = somebody()
    phone = await sign_in_from(world, subject, ("x-device", "Ada's phone"))
    world.clock.shift = timedelta(minutes=1)
    tablet = await sign_in_from(world, subject, ("x-device", "J%C3%BCrgens%20Tablet"))
    world.clock.shift = timedelta(minutes=2)
    refresh = auth_pb2.RefreshSessionRequest(refresh_token=phone.tokens.refresh_token)
    await world.auth.RefreshSession(refresh)
    answer = await listed(world, tablet)
    assert [(session.device, session.current) for session in answer.sessions] == [
        ("Ada's phone", False),
        ("Jürgens Tablet", True),
    ]
    assert answer.total_size == 2
    first, second = answer.sessions
    assert first.last_use_time.seconds - first.create_time.seconds in (119, 120, 121)
    assert second.last_use_time == second.create_time


async def test_a_list_of_sessions_comes_in_pages(world: World, somebody: Subject) -> None:
    subject = somebody()
    sessions = []
    for minute in range(5):
        world.clock.shift = timedelta(minutes=minute)
        sessions.append(await sign_in_from(world, subject, ("x-device", f"device {minute}")))
    seen, token = [], ""
    while True:
        answer = await listed(world, sessions[-1], page_size=2, page_token=token)
        assert answer.total_size == 5
        seen += [session.device for session in answer.sessions]
        token = answer.next_page_token
        if not token:
            break
    assert seen == [f"device {minute}" for minute in (4, 3, 2, 1, 0)]


async def test_a_page_token_is_for_its_owner_only(world: World, somebody: Subject) -> None:
    ada, grace = somebody(), somebody()
    await world.sign_in(ada)
    await world.sign_in(grace)
    adas, graces = await world.sign_in(ada), await world.sign_in(grace)
    token = (await listed(world, adas, page_size=1)).next_page_token
    for bad in (token, token[:-2] + "AA", "x"):
        seen = await refusal(listed(world, graces, page_token=bad))
        assert (seen.code, seen.fields) == ("INVALID_ARGUMENT", {"page_token"})


async def test_a_lost_phone_is_signed_out(world: World, somebody: Subject) -> None:
    subject = somebody()
    lost, mine = await world.sign_in(subject), await world.sign_in(subject)
    [other] = [one.session_id for one in (await listed(world, mine)).sessions if not one.current]
    await revoke(world, mine, other)
    await revoke(world, mine, other)  # again is the same
    await world.revocations.poll()
    refreshed = world.auth.RefreshSession(
        auth_pb2.RefreshSessionRequest(refresh_token=lost.tokens.refresh_token)
    )
    assert (await refusal(refreshed)).reason == "SESSION_REVOKED"
    assert (await refusal(listed(world, lost))).reason == "SESSION_REVOKED"
    assert [one.current for one in (await listed(world, mine)).sessions] == [True]


async def test_sessions_of_others_are_not_there(world: World, somebody: Subject) -> None:
    ada, grace = await world.sign_in(somebody()), await world.sign_in(somebody())
    [hers] = (await listed(world, ada)).sessions
    assert [one.session_id for one in (await listed(world, grace)).sessions] != [hers.session_id]
    answers = [
        await refusal(revoke(world, grace, session_id))
        for session_id in (hers.session_id, str(uuid4()), "nonsense")
    ]
    assert {(seen.code, seen.reason) for seen in answers} == {("NOT_FOUND", "SESSION_NOT_FOUND")}
    assert len({seen.message for seen in answers}) == 1
    await world.revocations.poll()
    assert (await listed(world, ada)).total_size == 1


async def test_signing_out_ends_this_session_only(world: World, somebody: Subject) -> None:
    subject = somebody()
    phone, tablet = await world.sign_in(subject), await world.sign_in(subject)
    answer = await world.auth.SignOut(auth_pb2.SignOutRequest(), metadata=as_caller(phone))
    assert answer.ended_sessions == 1
    await world.revocations.poll()
    assert (await refusal(listed(world, phone))).reason == "SESSION_REVOKED"
    assert (await listed(world, tablet)).total_size == 1


async def test_signing_out_everywhere_ends_all_of_mine_and_none_of_yours(
    world: World, somebody: Subject
) -> None:
    subject, somebody_else = somebody(), await world.sign_in(somebody())
    mine = [await world.sign_in(subject) for _ in range(3)]
    answer = await world.auth.SignOut(auth_pb2.SignOutRequest(all_sessions=True), metadata=as_caller(mine[0]))
    assert answer.ended_sessions == 3
    await world.revocations.poll()
    for session in mine:
        assert (await refusal(listed(world, session))).reason == "SESSION_REVOKED"
        refresh = auth_pb2.RefreshSessionRequest(refresh_token=session.tokens.refresh_token)
        assert (await refusal(world.auth.RefreshSession(refresh))).reason == "SESSION_REVOKED"
    assert (await listed(world, somebody_else)).total_size == 1
    assert not (await world.sign_in(subject)).new_account


@pytest.mark.parametrize(
    ("headers", "device"),
    [
        ({"x-device": "Ada's phone", "x-user-agent": "okhttp/4.9"}, "Ada's phone"),
        ({"x-device": "x" * 61, "x-user-agent": "okhttp/4.9.3"}, "okhttp"),
        ({"x-device": "%FF%FE", "x-user-agent": "okhttp/4.9.3"}, "okhttp"),
        ({"x-device": "bell%07", "x-user-agent": "okhttp/4.9.3"}, "okhttp"),
        (
            {
                "x-user-agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15"
                " (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
            },
            "Safari on iPhone",
        ),
        (
            {
                "x-user-agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like"
                " Gecko) Chrome/126.0 Safari/537.36 Edg/126.0"
            },
            "Edge on Windows",
        ),
        ({"x-user-agent": "Mozilla/5.0 (Linux; Android 14)"}, "Android"),
    ],
)
async def test_a_device_has_the_name_its_app_tells_or_a_short_one(
    world: World, somebody: Subject, headers: dict[str, str], device: str
) -> None:
    signed_in = await sign_in_from(world, somebody(), *headers.items())
    assert [session.device for session in (await listed(world, signed_in)).sessions] == [device]
