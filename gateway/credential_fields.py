"""Reading what an app shows: the fields that SignInRequest and LinkIdentityRequest have in common."""

from typing import Final

from gateway.credentials import AuthorizationCode, Credential, IdToken
from mesh.checks import Checks
from popcorn.gateway.v1 import account_pb2, auth_pb2

_LONGEST_ID_TOKEN: Final = 8192
_LONGEST_CODE: Final = 2048
_LONGEST_CLIENT_ID: Final = 255
_LONGEST_NONCE: Final = 512
_LONGEST_REDIRECT_URI: Final = 2048
_SHORTEST_VERIFIER: Final = 43
_LONGEST_VERIFIER: Final = 128


def read_credential(
    checks: Checks, request: auth_pb2.SignInRequest | account_pb2.LinkIdentityRequest
) -> Credential:
    """Return the credential of a request; what is wrong with it is noted in `checks`.

    Args:
        checks: Collects what is wrong.
        request: The request.
    """
    id_token = checks.text("id_token", request.id_token, longest=_LONGEST_ID_TOKEN)
    code = checks.text("authorization_code", request.authorization_code, longest=_LONGEST_CODE)
    for field in ("id_token", "authorization_code"):
        checks.require(
            bool(request.id_token) != bool(request.authorization_code),
            field,
            "EXACTLY_ONE",
            "Exactly one of id_token and authorization_code must be set.",
        )
    verifier = checks.text("code_verifier", request.code_verifier, longest=_LONGEST_VERIFIER)
    redirect_uri = checks.text("redirect_uri", request.redirect_uri, longest=_LONGEST_REDIRECT_URI)
    client_id = checks.text("client_id", request.client_id, longest=_LONGEST_CLIENT_ID)
    if request.authorization_code and not request.id_token:
        # Without a verifier whoever picks a code up on its way could use it: Google's codes need one. Apple
        # knows no PKCE and has our client secret instead.
        needs_verifier = request.provider == account_pb2.PROVIDER_GOOGLE
        checks.require(
            len(verifier) >= _SHORTEST_VERIFIER or (not verifier and not needs_verifier),
            "code_verifier",
            "TOO_SHORT",
            f"Must have at least {_SHORTEST_VERIFIER} characters.",
        )
    elif not request.authorization_code:
        for field, value in (
            ("code_verifier", verifier),
            ("redirect_uri", redirect_uri),
            ("client_id", client_id),
        ):
            checks.require(not value, field, "ONLY_WITH_CODE", "Belongs to an authorization_code only.")
    if request.authorization_code:
        return AuthorizationCode(code, verifier=verifier, redirect_uri=redirect_uri, client_id=client_id)
    return IdToken(id_token)


def read_nonce(checks: Checks, request: auth_pb2.SignInRequest | account_pb2.LinkIdentityRequest) -> str:
    """Return the nonce that the provider's token has to hold; empty when it is not to be looked at."""
    return checks.text("nonce", request.nonce, longest=_LONGEST_NONCE)
