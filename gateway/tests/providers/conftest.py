"""A gateway whose Google and Apple are the development identity provider, which can be taken away."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest

from dev.idp import IdentityProvider, SigningKey
from dev.idp_codes import APPLE_KEY_ID, APPLE_TEAM_ID
from gateway.__main__ import AppleTeam, apple_team, build_deletions, services
from gateway.apple_grants import AppleGrantStore
from gateway.apple_revocations import AppleRevocations
from gateway.deletion import Deletions
from gateway.migrate import FOLDER, SCHEMA
from gateway.session_store import SessionStore
from gateway.settings import GatewaySettings
from gateway.tests.conftest import QUICK, ShiftedClock, World, as_caller, make_settings
from gateway.tests.contents import contents
from mesh.channels import open_channel
from mesh.migrations import migrate
from mesh.postgres import Database
from mesh.revocations import Revocations
from mesh.server import Server
from popcorn.gateway.v1 import account_pb2, account_pb2_grpc, auth_pb2, auth_pb2_grpc

if TYPE_CHECKING:
    from popcorn.gateway.v1.account_pb2_grpc import AccountServiceAsyncStub
    from popcorn.gateway.v1.auth_pb2_grpc import AuthServiceAsyncStub

GOOGLE, APPLE = account_pb2.PROVIDER_GOOGLE, account_pb2.PROVIDER_APPLE
NAMES = {GOOGLE: "google", APPLE: "apple"}
GOOGLE_CLIENT, APPLE_CLIENT, APPLE_WEB_CLIENT = "google.example", "dev.popcorn.app", "dev.popcorn.web"
ADDRESS = "https://popcorn.example/signed-in"
VERIFIER = "a-verifier-of-at-least-forty-three-characters"
IDP = "http://idp.test"
OLD_KEY, NEW_KEY = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


def challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Wire(httpx.AsyncBaseTransport):
    """The way to the identity provider, which a test may cut, block, or answer on itself."""

    def __init__(self, far_end: httpx.AsyncBaseTransport) -> None:
        self._far_end = far_end
        self.restore()

    def restore(self) -> None:
        self.is_cut = False
        self.blocked_paths: set[str] = set()
        self.answers: dict[str, httpx.Response] = {}
        self.sent: list[httpx.Request] = []
        self.received: list[bytes] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        if self.is_cut:
            raise httpx.ConnectError("the provider is away", request=request)
        if request.url.path in self.blocked_paths:
            await asyncio.Event().wait()
        if request.url.path in self.answers:
            answer = self.answers[request.url.path]
            return httpx.Response(answer.status_code, content=answer.content)
        answer = await self._far_end.handle_async_request(request)
        self.received.append(await answer.aread())
        return answer


@dataclass
class Office:
    """The gateway, and the providers it asks."""

    settings: GatewaySettings
    clock: ShiftedClock
    database: Database
    idp: httpx.AsyncClient
    wire: Wire
    apple: AppleTeam
    google_key: SigningKey
    apple_key: SigningKey
    revocations: AppleRevocations
    deletions: Deletions
    auth: AuthServiceAsyncStub
    accounts: AccountServiceAsyncStub

    async def code(self, provider: account_pb2.Provider.ValueType, subject: str, **wanted: Any) -> str:
        """A code of somebody's, asked for by an app of ours."""
        usual: dict[str, Any] = {
            "provider": NAMES[provider],
            "subject": subject,
            "clientId": GOOGLE_CLIENT if provider == GOOGLE else APPLE_CLIENT,
            "redirectUri": ADDRESS,
            "codeChallenge": challenge(VERIFIER) if provider == GOOGLE else None,
        }
        return await self._ask("/codes", "code", usual | wanted)

    async def token(self, provider: account_pb2.Provider.ValueType, subject: str, **wanted: Any) -> str:
        """An ID token of somebody's."""
        return await self._ask(
            "/tokens", "idToken", {"provider": NAMES[provider], "subject": subject} | wanted
        )

    async def notification(self, kind: str, subject: str, **wanted: Any) -> str:
        """What Apple's servers would send."""
        return await self._ask("/notifications", "payload", {"type": kind, "subject": subject} | wanted)

    async def _ask(self, path: str, field: str, wanted: dict[str, Any]) -> str:
        body = {name: value for name, value in wanted.items() if value is not None}
        answer = await self.idp.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()[field])

    async def grants(self, subject: str) -> tuple[int, int]:
        """How many of Apple's refresh tokens somebody has out, and how many came back."""
        counts = (await self.idp.get("/apple/grants", params={"subject": subject})).json()
        return counts["active"], counts["revoked"]

    def request(
        self, provider: account_pb2.Provider.ValueType, code: str, **fields: Any
    ) -> auth_pb2.SignInRequest:
        """A sign-in with a code, as the app that asked for it would send it."""
        usual: dict[str, Any] = {
            "authorization_code": code,
            "redirect_uri": ADDRESS,
            "code_verifier": VERIFIER if provider == GOOGLE else "",
        }
        return auth_pb2.SignInRequest(provider=provider, **(usual | fields))

    async def sign_in(
        self, provider: account_pb2.Provider.ValueType, subject: str, **wanted: Any
    ) -> auth_pb2.SignInResponse:
        """Sign in with a token."""
        token = await self.token(provider, subject, **wanted)
        return await self.auth.SignIn(auth_pb2.SignInRequest(provider=provider, id_token=token))

    async def sign_in_with_code(
        self, provider: account_pb2.Provider.ValueType, subject: str
    ) -> auth_pb2.SignInResponse:
        """Sign in with a code."""
        return await self.auth.SignIn(self.request(provider, await self.code(provider, subject)))

    async def link(
        self, who: auth_pb2.SignInResponse, provider: account_pb2.Provider.ValueType, subject: str
    ) -> account_pb2.Account:
        """Link somebody's identity to an account, with a token."""
        request = account_pb2.LinkIdentityRequest(
            provider=provider, id_token=await self.token(provider, subject)
        )
        return (await self.accounts.LinkIdentity(request, metadata=as_caller(who))).account

    async def unlink(
        self, who: auth_pb2.SignInResponse, provider: account_pb2.Provider.ValueType
    ) -> account_pb2.Account:
        """Unlink an identity of an account."""
        request = account_pb2.UnlinkIdentityRequest(provider=provider)
        return (await self.accounts.UnlinkIdentity(request, metadata=as_caller(who))).account

    async def notify(self, kind: str, subject: str, **wanted: Any) -> None:
        """Deliver one of Apple's notifications."""
        payload = await self.notification(kind, subject, **wanted)
        await self.auth.ReceiveAppleNotification(auth_pb2.ReceiveAppleNotificationRequest(payload=payload))

    async def everything(self) -> dict[str, str]:
        """What the database holds."""
        return await contents(self.database)


@pytest.fixture(scope="session")
async def the_office(
    the_world: World, new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    # Of its own: nothing writes there but what a test does, since nobody runs the deletions.
    url = new_database()
    await migrate(url, schema=SCHEMA, folder=FOLDER)
    database = Database(url, application="tests")
    await database.start()
    state: Path = tmp_path_factory.mktemp("idp")
    clock = ShiftedClock()
    provider = IdentityProvider(
        state,
        google_client_id=GOOGLE_CLIENT,
        apple_client_id=APPLE_CLIENT,
        clock=lambda: clock().timestamp(),
    )
    far_end = httpx.ASGITransport(provider.application())
    wire = Wire(far_end)
    settings = make_settings(
        google_client_ids=(GOOGLE_CLIENT, "web.google.example"),
        google_certs_url=f"{IDP}/google/certs",
        google_token_url=f"{IDP}/google/token",
        google_client_secrets="web.google.example=s3cret",
        apple_client_ids=(APPLE_CLIENT, APPLE_WEB_CLIENT),
        apple_keys_url=f"{IDP}/apple/keys",
        apple_token_url=f"{IDP}/apple/auth/token",
        apple_revoke_url=f"{IDP}/apple/auth/revoke",
        apple_team_id=APPLE_TEAM_ID,
        apple_key_id=APPLE_KEY_ID,
        apple_private_key_file=state / "apple-developer-key.p8",
        apple_token_keys=f"new:{NEW_KEY},old:{OLD_KEY}",
        erasure_delay_seconds=0,
    )
    async with (
        httpx.AsyncClient(transport=wire) as client,
        httpx.AsyncClient(transport=far_end, base_url=IDP) as idp,
        open_channel(the_world.behind, services=[]) as channel,
    ):
        apple = apple_team(settings, providers=client, clock=clock)
        assert apple is not None
        deletions = build_deletions(settings, database=database, backlogs=channel, games=channel, clock=clock)
        ended = Revocations(SessionStore(database).changes, poll=timedelta(milliseconds=200))
        gateway = Server(
            services(
                settings,
                keys=the_world.signing_keys,
                database=database,
                backlogs=channel,
                movies=channel,
                games=channel,
                deletions=deletions,
                providers=client,
                apple=apple,
                clock=clock,
            ),
            listen="127.0.0.1:0",
            revocations=ended,
            options=QUICK,
        )
        async with ended, gateway, grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as door:
            yield Office(
                settings=settings,
                clock=clock,
                database=database,
                idp=idp,
                wire=wire,
                apple=apple,
                google_key=SigningKey(state / "google.pem"),
                apple_key=SigningKey(state / "apple.pem"),
                revocations=AppleRevocations(AppleGrantStore(database), apple.refresh_tokens, clock=clock),
                deletions=deletions,
                auth=auth_pb2_grpc.AuthServiceStub(door),
                accounts=account_pb2_grpc.AccountServiceStub(door),
            )
    await database.close()


@pytest.fixture
def office(the_office: Office) -> Office:
    """The gateway and its providers, as at the start."""
    the_office.clock.shift = timedelta()
    the_office.wire.restore()
    return the_office
