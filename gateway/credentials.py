"""What an app shows to prove who uses it: a provider's token, or a code to be traded for one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from gateway.identity_tokens import Provider


class InvalidAuthorizationCode(Exception):
    """The provider does not take the code: spent, too old, or asked for by somebody else."""

    status = "UNAUTHENTICATED"
    reason = "INVALID_AUTHORIZATION_CODE"
    metadata: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        super().__init__("The provider does not accept this code. Please sign in with the provider again.")


class CodeSignInNotConfigured(Exception):
    """This deployment has not been given what the provider asks of those who trade codes."""

    status = "FAILED_PRECONDITION"
    reason = "CODE_SIGN_IN_NOT_CONFIGURED"

    def __init__(self, provider: Provider) -> None:
        super().__init__("Codes of this provider cannot be used here. Please send an id_token.")
        self.metadata: Mapping[str, str] = {"provider": provider.value}


@dataclass(frozen=True, slots=True)
class IdToken:
    """A provider's signed token."""

    text: str = field(repr=False)
    """The token."""


@dataclass(frozen=True, slots=True)
class AuthorizationCode:
    """A code of the provider's (RFC 6749 section 4.1), good for one trade."""

    text: str = field(repr=False)
    """The code."""
    verifier: str = field(repr=False)
    """What the code's challenge was made of (PKCE, RFC 7636). May be empty with Apple."""
    redirect_uri: str
    """The redirect URI that the code was asked for with. Empty: without one."""
    client_id: str
    """Our client id that it was asked for with. Empty: the first one of ours."""


Credential = IdToken | AuthorizationCode
"""Either is proof."""
