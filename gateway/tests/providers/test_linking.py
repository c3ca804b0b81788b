"""Ways to sign in, added and taken away: whose they are, who is first, and what is never joined."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from structlog.testing import capture_logs

from gateway.apple_refresh_tokens import AppleRefreshTokens
from gateway.sealing import NONCE_BYTES, Sealer, read_keys
from gateway.tests.conftest import as_caller
from gateway.tests.providers.conftest import ADDRESS, APPLE, APPLE_CLIENT, GOOGLE, OLD_KEY, Office
from gateway.tests.refusals import Seen, refusal
from gateway.token_endpoint import TokenEndpoint
from popcorn.gateway.v1 import account_pb2, auth_pb2

Subject = Callable[[], str]


def providers_of(account: account_pb2.Account) -> list[int]:
    return [identity.provider for identity in account.identities]


async def guest(office: Office, name: str = "Guest") -> auth_pb2.SignInResponse:
    """A guest, in the shape of somebody who signed in."""
    answer = await office.auth.SignInAsGuest(auth_pb2.SignInAsGuestRequest(display_name=name))
    return auth_pb2.SignInResponse(tokens=answer.tokens, account=answer.account)


async def test_both_ways_lead_to_one_account(office: Office, somebody: Subject) -> None:
    google, apple = somebody(), somebody()
    first = await office.sign_in(GOOGLE, google)
    linked = await office.link(first, APPLE, apple)
    assert providers_of(linked) == [GOOGLE, APPLE]
    assert linked.user_id == first.account.user_id
    for provider, subject in ((GOOGLE, google), (APPLE, apple)):
        again = await office.sign_in(provider, subject)
        assert (again.new_account, again.account.user_id) == (False, first.account.user_id)


async def test_a_code_links_as_a_token_does(office: Office, somebody: Subject) -> None:
    subject = somebody()
    who = await office.sign_in(GOOGLE, somebody())
    request = account_pb2.LinkIdentityRequest(
        provider=APPLE, authorization_code=await office.code(APPLE, subject), redirect_uri=ADDRESS
    )
    answer = await office.accounts.LinkIdentity(request, metadata=as_caller(who))
    assert providers_of(answer.account) == [GOOGLE, APPLE]
    kept = "SELECT count(*) FROM gateway.apple_grants WHERE user_id = $1"
    assert await office.database.fetchval(kept, who.account.user_id) == 1


async def test_a_guest_becomes_an_account_and_keeps_everything(office: Office, somebody: Subject) -> None:
    who, subject = await guest(office, "Ada"), somebody()
    assert who.account.guest
    linked = await office.link(who, APPLE, subject)
    assert (linked.user_id, linked.display_name, linked.guest) == (who.account.user_id, "Ada", False)
    again = await office.sign_in(APPLE, subject)
    assert (again.new_account, again.account.user_id) == (False, who.account.user_id)
    # The token of before says guest until it is refreshed.
    refreshed = await office.auth.RefreshSession(
        auth_pb2.RefreshSessionRequest(refresh_token=who.tokens.refresh_token)
    )
    for tokens, is_guest in ((who.tokens, True), (refreshed.tokens, False)):
        claims = jwt.decode(tokens.access_token, options={"verify_signature": False})
        assert claims["guest"] is is_guest


async def test_what_is_somebody_elses_stays_theirs(office: Office, somebody: Subject) -> None:
    taken = somebody()
    owner = await office.sign_in(APPLE, taken)
    for who in (await office.sign_in(GOOGLE, somebody()), await guest(office)):
        before = await office.everything()
        seen = await refusal(office.link(who, APPLE, taken))
        assert (seen.code, seen.reason) == ("ALREADY_EXISTS", "IDENTITY_TAKEN")
        assert seen.metadata == {"provider": "apple"}
        assert await office.everything() == before
    assert (await office.sign_in(APPLE, taken)).account.user_id == owner.account.user_id


async def test_ones_own_again_is_fine(office: Office, somebody: Subject) -> None:
    subject = somebody()
    who = await office.sign_in(GOOGLE, subject)
    for _ in range(2):
        assert providers_of(await office.link(who, GOOGLE, subject)) == [GOOGLE]


async def test_one_of_each_provider(office: Office, somebody: Subject) -> None:
    who = await office.sign_in(GOOGLE, somebody())
    before = await office.everything()
    seen = await refusal(office.link(who, GOOGLE, somebody()))
    assert (seen.code, seen.reason) == ("ALREADY_EXISTS", "PROVIDER_ALREADY_LINKED")
    assert await office.everything() == before


async def test_one_address_joins_nobody(office: Office, somebody: Subject) -> None:
    address = f"{somebody()}@shared.example"
    google, apple = somebody(), somebody()
    one = await office.sign_in(GOOGLE, google, email=address)
    other = await office.sign_in(APPLE, apple, email=address)
    assert one.account.user_id != other.account.user_id
    # Whoever wants both has to decide for one of them: neither takes the other in.
    assert (await refusal(office.link(one, APPLE, apple))).reason == "IDENTITY_TAKEN"
    assert (await refusal(office.link(other, GOOGLE, google))).reason == "IDENTITY_TAKEN"


async def test_what_does_not_convince_is_not_linked(office: Office, somebody: Subject) -> None:
    who = await office.sign_in(GOOGLE, somebody())
    before = await office.everything()
    tokens: list[tuple[dict[str, Any], str]] = [
        ({"audience": "evil"}, "audience"),
        ({"expiresInSeconds": -5}, "expiry"),
        ({"emailVerified": False}, "email_verified"),
    ]
    for wanted, check in tokens:
        request = account_pb2.LinkIdentityRequest(
            provider=APPLE, id_token=await office.token(APPLE, somebody(), **wanted)
        )
        seen = await refusal(office.accounts.LinkIdentity(request, metadata=as_caller(who)))
        assert (seen.reason, seen.metadata) == ("INVALID_IDENTITY_TOKEN", {"check": check})
    request = account_pb2.LinkIdentityRequest(
        provider=APPLE, id_token=await office.token(APPLE, somebody(), nonce="n-1"), nonce="n-2"
    )
    seen = await refusal(office.accounts.LinkIdentity(request, metadata=as_caller(who)))
    assert seen.metadata == {"check": "nonce"}
    assert await office.everything() == before


@pytest.mark.parametrize(
    ("fields", "request_fields"),
    [
        ({"provider", "id_token", "authorization_code"}, {}),
        ({"id_token", "authorization_code"}, {"provider": APPLE, "id_token": "x", "authorization_code": "y"}),
        ({"code_verifier"}, {"provider": GOOGLE, "authorization_code": "x"}),
        ({"nonce"}, {"provider": GOOGLE, "id_token": "x", "nonce": "n" * 600}),
    ],
)
async def test_bad_input_names_every_field(
    office: Office, somebody: Subject, fields: set[str], request_fields: dict[str, Any]
) -> None:
    who = await office.sign_in(GOOGLE, somebody())
    request = account_pb2.LinkIdentityRequest(**request_fields)
    seen = await refusal(office.accounts.LinkIdentity(request, metadata=as_caller(who)))
    assert (seen.code, seen.fields) == ("INVALID_ARGUMENT", fields)


async def test_of_two_accounts_that_link_one_identity_at_once_one_gets_it(
    office: Office, somebody: Subject
) -> None:
    for _ in range(5):
        subject = somebody()
        rivals = [await office.sign_in(GOOGLE, somebody()), *[await guest(office) for _ in range(5)]]
        outcomes: list[Any] = await asyncio.gather(*(_outcome(office, rival, subject) for rival in rivals))
        winners = [outcome for outcome in outcomes if isinstance(outcome, account_pb2.Account)]
        assert len(winners) == 1
        assert {outcome.reason for outcome in outcomes if isinstance(outcome, Seen)} == {"IDENTITY_TAKEN"}
        assert (await office.sign_in(APPLE, subject)).account.user_id == winners[0].user_id


async def _outcome(office: Office, who: auth_pb2.SignInResponse, subject: str) -> account_pb2.Account | Seen:
    """What comes of linking: the account, or the refusal."""
    call = office.link(who, APPLE, subject)
    task = asyncio.ensure_future(call)
    await asyncio.wait([task])
    return task.result() if task.exception() is None else await refusal(task)


async def test_linking_and_signing_in_with_the_same_identity_at_once_leaves_one_owner(
    office: Office, somebody: Subject
) -> None:
    for _ in range(5):
        subject, who = somebody(), await office.sign_in(GOOGLE, somebody())
        linked, signed_in = await asyncio.gather(
            _outcome(office, who, subject), office.sign_in(APPLE, subject)
        )
        if isinstance(linked, Seen):
            assert linked.reason == "IDENTITY_TAKEN"
            assert signed_in.account.user_id != who.account.user_id
        else:
            assert signed_in.account.user_id == who.account.user_id


async def test_linking_the_same_twenty_times_at_once_links_it_once(office: Office, somebody: Subject) -> None:
    subject, who = somebody(), await office.sign_in(GOOGLE, somebody())
    accounts = await asyncio.gather(*(office.link(who, APPLE, subject) for _ in range(20)))
    assert {tuple(providers_of(account)) for account in accounts} == {(GOOGLE, APPLE)}


async def test_an_unlinked_way_leads_to_nobody_and_sessions_go_on(office: Office, somebody: Subject) -> None:
    google, apple = somebody(), somebody()
    who = await office.sign_in(GOOGLE, google)
    await office.link(who, APPLE, apple)
    by_apple = await office.sign_in(APPLE, apple)
    assert providers_of(await office.unlink(by_apple, APPLE)) == [GOOGLE]
    mine = await office.accounts.GetAccount(account_pb2.GetAccountRequest(), metadata=as_caller(by_apple))
    assert mine.account.user_id == who.account.user_id
    stranger = await office.sign_in(APPLE, apple)
    assert (stranger.new_account, stranger.account.user_id != who.account.user_id) == (True, True)


async def test_the_last_way_in_stays(office: Office, somebody: Subject) -> None:
    who = await office.sign_in(GOOGLE, somebody())
    seen = await refusal(office.unlink(who, GOOGLE))
    assert (seen.code, seen.reason) == ("FAILED_PRECONDITION", "LAST_IDENTITY")


async def test_unlinking_what_is_not_there_is_fine(office: Office, somebody: Subject) -> None:
    who = await office.sign_in(GOOGLE, somebody())
    for _ in range(2):
        assert providers_of(await office.unlink(who, APPLE)) == [GOOGLE]


async def test_unlinking_both_at_once_leaves_one(office: Office, somebody: Subject) -> None:
    for _ in range(5):
        who = await office.sign_in(GOOGLE, somebody())
        await office.link(who, APPLE, somebody())
        outcomes = await asyncio.gather(
            office.unlink(who, GOOGLE), office.unlink(who, APPLE), return_exceptions=True
        )
        assert [isinstance(outcome, account_pb2.Account) for outcome in outcomes].count(True) == 1
        left = await office.accounts.GetAccount(account_pb2.GetAccountRequest(), metadata=as_caller(who))
        assert len(left.account.identities) == 1


async def test_a_guest_has_nothing_to_unlink(office: Office) -> None:
    seen = await refusal(office.unlink(await guest(office), APPLE))
    assert (seen.code, seen.reason) == ("PERMISSION_DENIED", "GUEST_NOT_ALLOWED")


async def test_nobody_links_to_an_account_that_is_gone(office: Office, somebody: Subject) -> None:
    who = await office.sign_in(GOOGLE, somebody())
    await office.accounts.DeleteAccount(account_pb2.DeleteAccountRequest(), metadata=as_caller(who))
    seen = await refusal(office.link(who, APPLE, somebody()))
    assert (seen.code, seen.reason) in {
        ("UNAUTHENTICATED", "ACCOUNT_GONE"),
        ("UNAUTHENTICATED", "SESSION_REVOKED"),
    }
    identities = "SELECT count(*) FROM gateway.identities WHERE user_id = $1"
    assert await office.database.fetchval(identities, who.account.user_id) == 0


async def test_every_change_is_one_line_of_the_audit_log(office: Office, somebody: Subject) -> None:
    apple = somebody()
    who = await office.sign_in(GOOGLE, somebody())
    with capture_logs() as lines:
        await office.link(who, APPLE, apple)
        await office.link(who, APPLE, apple)
        await office.unlink(who, APPLE)
        await office.unlink(who, APPLE)
    said = [(line["action"], line["user_id"], line["provider"]) for line in lines if line["event"] == "audit"]
    user_id = who.account.user_id
    assert said == [("identity.linked", user_id, "apple"), ("identity.unlinked", user_id, "apple")]
    assert apple not in str(lines)


# ---- giving Apple's grant back ----


async def unlink_apple(office: Office, subject: str) -> auth_pb2.SignInResponse:
    who = await office.sign_in_with_code(APPLE, subject)
    request = account_pb2.LinkIdentityRequest(
        provider=GOOGLE, id_token=await office.token(GOOGLE, f"google-of-{subject}")
    )
    await office.accounts.LinkIdentity(request, metadata=as_caller(who))
    await office.unlink(who, APPLE)
    return who


async def waiting(office: Office) -> int:
    count: int = await office.database.fetchval("SELECT count(*) FROM gateway.apple_revocations")
    return count


@pytest.fixture
async def outbox(office: Office) -> Office:
    """The office with nothing left to give back by other tests."""
    await office.database.execute("DELETE FROM gateway.apple_revocations")
    return office


async def test_unlinking_gives_apples_grant_back(outbox: Office, somebody: Subject) -> None:
    subject = somebody()
    await unlink_apple(outbox, subject)
    assert (await outbox.grants(subject), await waiting(outbox)) == ((1, 0), 1)
    await outbox.revocations.round()
    assert (await outbox.grants(subject), await waiting(outbox)) == ((0, 1), 0)


async def test_apple_being_away_only_puts_it_off(outbox: Office, somebody: Subject) -> None:
    subject = somebody()
    await unlink_apple(outbox, subject)
    outbox.wire.is_cut = True
    await outbox.revocations.round()
    outbox.wire.restore()
    await outbox.revocations.round()  # its turn has not come again
    assert (await outbox.grants(subject), await waiting(outbox)) == ((1, 0), 1)
    outbox.clock.shift += timedelta(minutes=2)
    await outbox.revocations.round()
    assert (await outbox.grants(subject), await waiting(outbox)) == ((0, 1), 0)


async def test_the_pauses_grow_up_to_an_hour_and_end_after_a_month(outbox: Office, somebody: Subject) -> None:
    await unlink_apple(outbox, somebody())
    outbox.wire.is_cut = True
    for _ in range(10):
        await outbox.revocations.round()
        outbox.clock.shift += timedelta(hours=1, seconds=1)
    attempts = "SELECT attempts FROM gateway.apple_revocations"
    assert await outbox.database.fetchval(attempts) == 10
    outbox.clock.shift += timedelta(days=30)
    await outbox.revocations.round()
    assert await waiting(outbox) == 0


async def test_of_two_replicas_one_gives_it_back(outbox: Office, somebody: Subject) -> None:
    subjects = [somebody() for _ in range(5)]
    for subject in subjects:
        await unlink_apple(outbox, subject)
    outbox.wire.sent.clear()
    await asyncio.gather(*(outbox.revocations.round() for _ in range(4)))
    assert len([request for request in outbox.wire.sent if request.url.path.endswith("revoke")]) == 5
    assert await waiting(outbox) == 0


async def test_a_grant_that_apple_does_not_know_any_more_is_settled(
    outbox: Office, somebody: Subject
) -> None:
    subject = somebody()
    await unlink_apple(outbox, subject)
    await outbox.database.execute("UPDATE gateway.apple_revocations SET next_attempt_time = now()")
    grant = outbox.apple.refresh_tokens.seal("unknown to Apple", "dev.popcorn.app")
    await outbox.database.execute(
        "UPDATE gateway.apple_revocations SET sealed = $1, key_id = $2", grant.sealed, grant.key_id
    )
    await outbox.revocations.round()
    assert await waiting(outbox) == 0


async def test_the_outbox_says_nothing_of_whose_it_was(outbox: Office, somebody: Subject) -> None:
    subject = somebody()
    who = await unlink_apple(outbox, subject)
    dump = await outbox.database.fetchval("SELECT string_agg(t::text, ',') FROM gateway.apple_revocations t")
    assert who.account.user_id not in dump
    assert subject not in dump


async def test_what_an_older_key_encrypted_is_encrypted_again_and_still_good(
    outbox: Office, somebody: Subject
) -> None:
    subject = somebody()
    who = await outbox.sign_in_with_code(APPLE, subject)
    [token] = [json.loads(body)["refresh_token"] for body in outbox.wire.received if b"refresh_token" in body]
    # As a replica that knows the older key only would have kept it.
    sealer = Sealer(read_keys([f"old:{OLD_KEY}"]), new_nonce=lambda: b"n" * NONCE_BYTES)
    endpoint = TokenEndpoint("http://idp.test/unused", provider="apple", client=outbox.idp)
    older = AppleRefreshTokens(endpoint, secrets=outbox.apple.secrets, sealer=sealer)
    grant = older.seal(token, APPLE_CLIENT)
    await outbox.database.execute(
        "UPDATE gateway.apple_grants SET key_id = $2, sealed = $3 WHERE user_id = $1",
        *(who.account.user_id, grant.key_id, grant.sealed),
    )
    await outbox.revocations.round()
    key_id = "SELECT key_id FROM gateway.apple_grants WHERE user_id = $1"
    assert await outbox.database.fetchval(key_id, who.account.user_id) == "new"
    await outbox.link(who, GOOGLE, somebody())
    await outbox.unlink(who, APPLE)
    await outbox.revocations.round()
    assert await outbox.grants(subject) == (0, 1)


async def test_what_no_key_opens_is_left_for_whoever_puts_the_key_back(
    outbox: Office, somebody: Subject
) -> None:
    who = await outbox.sign_in_with_code(APPLE, somebody())
    await outbox.database.execute(
        "UPDATE gateway.apple_grants SET key_id = 'lost' WHERE user_id = $1", who.account.user_id
    )
    other = somebody()
    await unlink_apple(outbox, other)
    await outbox.revocations.round()  # the others have their turn all the same
    assert await outbox.grants(other) == (0, 1)
    key_id = "SELECT key_id FROM gateway.apple_grants WHERE user_id = $1"
    assert await outbox.database.fetchval(key_id, who.account.user_id) == "lost"
    await outbox.database.execute("DELETE FROM gateway.apple_grants WHERE key_id = 'lost'")


async def test_deleting_an_account_gives_apples_grant_back(outbox: Office, somebody: Subject) -> None:
    subject = somebody()
    who = await outbox.sign_in_with_code(APPLE, subject)
    await outbox.accounts.DeleteAccount(account_pb2.DeleteAccountRequest(), metadata=as_caller(who))
    await outbox.revocations.round()
    assert await outbox.grants(subject) == (0, 1)
