from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import PermissionDenied, Unauthenticated, reason_of, status_of
from mesh.identity import IDENTITY_HEADER, Identity, admit, caller, identify
from mesh.tests.probing import NOW, Stub, bearer, claims, encoded, identity_metadata, text
from popcorn.options.v1 import options_pb2

Serving = Callable[..., Awaitable[Stub]]


class Introducing:
    async def Members(self, request: StringValue, context: Any) -> StringValue:
        return text(caller().user_id)

    Guests = Members
    Ask = Members
    Inside = Members

    async def MembersWatch(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield text(caller().user_id)


def test_an_identity_is_read_whole() -> None:
    identity = identify([identity_metadata(guest=True)], now=NOW)
    assert identity == Identity(
        user_id="user-1",
        session_id="session-1",
        name="Zoë",
        guest=True,
        expires_at=NOW + timedelta(seconds=3540),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"guest": False},
        {"name": "👩‍👩‍👧 نور"},
        {"name": ""},
        {"aud": ["popcorn", "other"]},
        {"scope": "something new"},
    ],
)
def test_a_good_payload_passes(changes: dict[str, Any]) -> None:
    assert identify([identity_metadata(**changes)], now=NOW).user_id == "user-1"


def test_padding_is_optional() -> None:
    key, value = identity_metadata(name="Zoë!")
    for padded in (value, value + "=" * (-len(value) % 4)):
        assert identify([(key, padded)], now=NOW).user_id == "user-1"


def test_the_bearer_token_beside_it_must_be_an_access_token() -> None:
    good = identity_metadata()
    assert identify([good, bearer(typ="at+jwt")], now=NOW).user_id == "user-1"
    assert identify([bearer(typ="at+jwt"), good], now=NOW).user_id == "user-1"


TWO_TYPES = b'{"typ":"JWT","typ":"at+jwt"}'

BEARERS = {
    "no type": [bearer()],
    "an ID token": [bearer(typ="JWT")],
    "a refresh token": [("authorization", "Bearer 0123456789abcdef")],
    "not a string": [bearer(typ=["at+jwt"])],
    "another scheme": [("authorization", "Basic " + bearer(typ="at+jwt")[1].removeprefix("Bearer "))],
    "nothing": [("authorization", "")],
    "a second one": [bearer(typ="at+jwt"), bearer(typ="JWT")],
    "the type twice": [("authorization", f"Bearer {encoded(TWO_TYPES)}.e30.c2ln")],
}


@pytest.mark.parametrize("headers", BEARERS.values(), ids=BEARERS.keys())
def test_another_kind_of_token_is_refused(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(Unauthenticated) as raised:
        identify([identity_metadata(), *headers], now=NOW)
    assert raised.value.reason == "BAD_TOKEN_TYPE"


def header(value: str | bytes) -> list[tuple[str, str | bytes]]:
    return [(IDENTITY_HEADER, value)]


FORGERIES: dict[str, list[tuple[str, str | bytes]]] = {
    "twice": [identity_metadata(), identity_metadata()],
    "two people": [identity_metadata(), identity_metadata(sub="user-2")],
    "empty": header(""),
    "bytes": header(encoded(claims()).encode()),
    "plain JSON": header('{"sub":"user-1"}'),
    "not base64url": header("a+/b"),
    "a comma-joined pair": header(f"{encoded(claims())},{encoded(claims())}"),
    "padding inside": header("e30=e30="),
    "a broken tail": header(encoded(claims())[:-2] + "=="),
    "not UTF-8": header(encoded(b'{"sub":"\xff"}')),
    "not JSON": header(encoded(b"{")),
    "not an object": header(encoded([claims()])),
    "a string": header(encoded("user-1")),
    "deeply nested": header(encoded(b"[" * 3000)),
    "a claim twice": header(encoded(b'{"sub":"a",' + b'"sub":"b"}')),
    "too long": header(encoded(claims(padding="x" * 4096))),
    "no payload": header(encoded({})),
    **{f"no {claim}": [identity_metadata(**{claim: ...})] for claim in claims()},
    **{f"null {claim}": [identity_metadata(**{claim: None})] for claim in claims()},
    **{f"a list as {claim}": [identity_metadata(**{claim: []})] for claim in claims()},
    "empty subject": [identity_metadata(sub="")],
    "subject with control": [identity_metadata(sub="user-1\n")],
    "subject with NUL": [identity_metadata(sub="user\x001")],
    "long subject": [identity_metadata(sub="x" * 129)],
    "subject as number": [identity_metadata(sub=1)],
    "name with control": [identity_metadata(name="Zoë\x00")],
    "name with a lone surrogate": [identity_metadata(name="\ud800")],
    "long name": [identity_metadata(name="x" * 513)],
    "expiry as text": [identity_metadata(exp="9999999999")],
    "expiry as fraction": [identity_metadata(exp=9999999999.5)],
    "expiry as boolean": [identity_metadata(exp=True)],
    "expiry beyond time": [identity_metadata(exp=10**18)],
    "expiry negative": [identity_metadata(exp=-1)],
    "expires before it was issued": [identity_metadata(iat=claims()["exp"] + 1)],
    "guest as text": [identity_metadata(guest="false")],
    "guest as number": [identity_metadata(guest=1)],
    "guest as null": [identity_metadata(guest=None)],
    "audience of numbers": [identity_metadata(aud=["popcorn", 1])],
}


@pytest.mark.parametrize("headers", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forgery_is_nobody(headers: list[tuple[str, str | bytes]]) -> None:
    with pytest.raises(Unauthenticated) as raised:
        identify(headers, now=NOW)
    assert raised.value.reason == "BAD_IDENTITY"


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_whatever_the_header_holds_it_is_refused_in_order(value: str | bytes) -> None:
    with pytest.raises(Unauthenticated):
        identify(header(value), now=NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(claims())), JSON)
def test_a_claim_of_any_shape_is_read_or_refused_never_an_accident(claim: str, value: object) -> None:
    try:
        identity = identify([identity_metadata(**{claim: value})], now=datetime(1970, 1, 1, tzinfo=UTC))
    except Unauthenticated:
        return
    assert isinstance(identity.user_id, str)
    assert isinstance(identity.name, str)


def test_an_expired_identity_is_refused_to_the_second() -> None:
    expires_at = identify([identity_metadata()], now=NOW).expires_at
    identify([identity_metadata()], now=expires_at - timedelta(microseconds=1))
    with pytest.raises(Unauthenticated) as raised:
        identify([identity_metadata()], now=expires_at)
    assert raised.value.reason == "TOKEN_EXPIRED"


def test_guests_are_let_in_only_where_the_contract_says_so() -> None:
    guest = identify([identity_metadata(guest=True)], now=NOW)
    member = identify([identity_metadata()], now=NOW)
    admit(guest, access=options_pb2.ACCESS_GUEST)
    admit(member, access=options_pb2.ACCESS_GUEST)
    admit(member, access=options_pb2.ACCESS_UNSPECIFIED)
    with pytest.raises(PermissionDenied) as raised:
        admit(guest, access=options_pb2.ACCESS_UNSPECIFIED)
    assert raised.value.reason == "GUEST_NOT_ALLOWED"


def test_there_is_no_caller_outside_of_an_rpc() -> None:
    with pytest.raises(Unauthenticated):
        caller()


GUEST = identity_metadata(guest=True, sub="guest-1")
TABLE: list[tuple[str, list[tuple[str, str]], str]] = [
    ("Members", [identity_metadata()], "user-1"),
    ("Members", [GUEST], "GUEST_NOT_ALLOWED"),
    ("Members", [], "MISSING_IDENTITY"),
    ("Members", [identity_metadata(), identity_metadata()], "BAD_IDENTITY"),
    ("Members", [identity_metadata(exp=int(NOW.timestamp()))], "TOKEN_EXPIRED"),
    ("Members", [identity_metadata(), bearer(typ="JWT")], "BAD_TOKEN_TYPE"),
    ("Guests", [identity_metadata()], "user-1"),
    ("Guests", [GUEST], "guest-1"),
    ("Guests", [], "MISSING_IDENTITY"),
    # Where the contract asks for nobody there is nobody, whatever was sent.
    ("Ask", [], "MISSING_IDENTITY"),
    ("Ask", [identity_metadata()], "MISSING_IDENTITY"),
    ("Inside", [identity_metadata()], "MISSING_IDENTITY"),
]


@pytest.mark.parametrize(("method", "metadata", "expected"), TABLE)
async def test_who_gets_in_over_the_wire(
    serving: Serving, method: str, metadata: list[tuple[str, str]], expected: str
) -> None:
    stub = await serving(Introducing())
    try:
        answer = (await getattr(stub, method)(text(""), metadata=metadata)).value
    except grpc.aio.AioRpcError as error:
        status = status_of(error)
        assert status is not None
        answer = reason_of(status)
    assert answer == expected


async def test_a_stream_without_identity_does_not_begin(serving: Serving) -> None:
    stub = await serving(Introducing())
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await anext(aiter(stub.MembersWatch(text(""))))
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert [m.value async for m in stub.MembersWatch(text(""), metadata=[identity_metadata()])] == ["user-1"]
