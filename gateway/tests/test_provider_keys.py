"""When the keys of a provider are asked for, and what happens when nobody answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from gateway.provider_keys import ProviderKeys
from gateway.tests.conftest import KeyServer, Signer
from mesh.errors import Unavailable

ONE, TWO = Signer("one", algorithm="ES256"), Signer("two", algorithm="ES256")


@dataclass
class Stopwatch:
    """Seconds that pass when a test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Setting:
    """Keys that are fetched from a server of the test's own."""

    server: KeyServer
    keys: ProviderKeys
    stopwatch: Stopwatch


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    stopwatch = Stopwatch()
    async with KeyServer({"keys": [ONE.jwk()]}) as server, httpx.AsyncClient(trust_env=False) as client:
        yield Setting(
            server, ProviderKeys(server.url, provider="test", client=client, clock=stopwatch), stopwatch
        )


async def test_keys_are_asked_for_once_while_they_are_fresh(setting: Setting) -> None:
    for _ in range(5):
        key = await setting.keys.find("one")
        assert key is not None
        setting.stopwatch.now += 600
    assert setting.server.requests == 1


async def test_many_at_once_share_one_request(setting: Setting) -> None:
    found = await asyncio.gather(*(setting.keys.find("one") for _ in range(50)))
    assert all(key is not None for key in found)
    assert setting.server.requests == 1


async def test_one_who_gives_up_does_not_take_the_request_from_the_others(setting: Setting) -> None:
    setting.server.hanging = asyncio.Event()
    impatient = asyncio.ensure_future(setting.keys.find("one"))
    patient = asyncio.ensure_future(setting.keys.find("one"))
    async with asyncio.timeout(5):
        await setting.server.was_asked.wait()
    impatient.cancel()
    setting.server.hanging.set()
    assert await patient is not None
    assert setting.server.requests == 1


async def test_a_new_key_is_found_when_a_token_names_it(setting: Setting) -> None:
    assert await setting.keys.find("one") is not None
    setting.server.document = {"keys": [ONE.jwk(), TWO.jwk()]}
    setting.stopwatch.now += 11
    assert await setting.keys.find("two") is not None
    assert setting.server.requests == 2


async def test_made_up_key_ids_do_not_make_us_ask_all_the_time(setting: Setting) -> None:
    for number in range(100):
        assert await setting.keys.find(f"made-up-{number}") is None
        setting.stopwatch.now += 0.2  # 20 seconds in all
    assert setting.server.requests <= 3


@pytest.mark.parametrize(
    ("cache_control", "seconds"),
    [
        ("public, max-age=600, must-revalidate", 600),
        ("max-age=0", 60),
        ("no-store", 3600),
        ("max-age=99999999", 86400),
        ("s-maxage=5", 3600),
    ],
)
async def test_keys_stay_fresh_for_as_long_as_the_provider_says_within_reason(
    setting: Setting, cache_control: str, seconds: int
) -> None:
    setting.server.cache_control = cache_control
    await setting.keys.find("one")
    setting.stopwatch.now += seconds - 1
    await setting.keys.find("one")
    assert setting.server.requests == 1
    setting.stopwatch.now += 2
    await setting.keys.find("one")
    assert setting.server.requests == 2


async def test_a_key_that_was_withdrawn_is_not_believed_any_more(setting: Setting) -> None:
    assert await setting.keys.find("one") is not None
    setting.server.document = {"keys": [TWO.jwk()]}
    setting.stopwatch.now += 3601
    assert await setting.keys.find("one") is None


async def test_without_keys_and_without_an_answer_it_is_unavailable_in_time(setting: Setting) -> None:
    setting.server.hanging = asyncio.Event()
    started = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        await setting.keys.find("one")
    assert time.monotonic() - started < 3
    assert caught.value.metadata == {"dependency": "test"}
    # Those that come next are not kept waiting, and the provider is left alone for a moment.
    with pytest.raises(Unavailable):
        await setting.keys.find("one")
    assert setting.server.requests == 1
    setting.server.hanging.set()
    setting.stopwatch.now += 3
    assert await setting.keys.find("one") is not None


@pytest.mark.parametrize("status", [301, 403, 500, 503])
async def test_an_error_is_no_key_document(setting: Setting, status: int) -> None:
    setting.server.status = status
    with pytest.raises(Unavailable):
        await setting.keys.find("one")


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        "keys",
        {"keys": []},
        {"keys": "x"},
        {"keys": [1, None]},
        {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "one", "alg": "HS256"}]},
        {"keys": [{**ONE.jwk(), "use": "enc"}]},
        {"keys": [{name: value for name, value in ONE.jwk().items() if name != "kid"}]},
        b"not json",
        b"\xff\xfe",
        b"[" * 100_000,
        b" " * 300_000,
    ],
    ids=lambda document: repr(document)[:30],
)
async def test_a_document_without_a_usable_key_is_an_outage_not_a_verdict(
    setting: Setting, document: object
) -> None:
    setting.server.document = document
    with pytest.raises(Unavailable):
        await setting.keys.find("one")


async def test_known_keys_are_used_while_the_provider_is_away_but_not_for_ever(setting: Setting) -> None:
    await setting.keys.find("one")
    setting.server.status = 503
    setting.stopwatch.now += 7200
    assert await setting.keys.find("one") is not None
    assert setting.server.requests == 2
    assert await setting.keys.find("one") is not None
    assert setting.server.requests == 2, "a provider that fails is left alone for two seconds"
    setting.stopwatch.now += 86_400
    with pytest.raises(Unavailable):
        await setting.keys.find("one")


async def test_a_key_that_may_be_new_is_not_refused_while_the_provider_is_away(setting: Setting) -> None:
    await setting.keys.find("one")
    setting.server.status = 503
    setting.stopwatch.now += 11
    with pytest.raises(Unavailable):
        await setting.keys.find("two")
    assert await setting.keys.find("one") is not None
    setting.server.status, setting.server.document = 200, {"keys": [ONE.jwk(), TWO.jwk()]}
    setting.stopwatch.now += 2
    assert await setting.keys.find("two") is not None
