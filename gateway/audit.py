"""The audit log: one line for every change of a session or an identity.

Says who and what, by our own ids. Never a token, an address or a provider's subject.
"""

from uuid import UUID

import structlog

from gateway.identity_tokens import Provider

_log = structlog.get_logger("gateway.audit")


def audit(
    action: str,
    *,
    user_id: UUID | str,
    session_id: UUID | str | None = None,
    provider: Provider | None = None,
    reason: str | None = None,
) -> None:
    """Write one line, once the change is committed.

    Args:
        action: What happened, in the past: "session.opened", "session.ended", "identity.linked".
        user_id: To whose account.
        session_id: To which session; None when to none or to all.
        provider: To which way of signing in, where it is about one.
        reason: Why, in lower_snake: "sign_out", "refresh_token_reuse".
    """
    fields = {
        "session_id": session_id and str(session_id),
        "provider": provider and provider.value,
        "reason": reason,
    }
    _log.info(
        "audit",
        action=action,
        user_id=str(user_id),
        **{name: value for name, value in fields.items() if value is not None},
    )
