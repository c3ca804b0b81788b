"""What a call says of the device it comes from: a name for its owner to know it by, and its address."""

import ipaddress
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

DEVICE_HEADER = "x-device"
"""What the app calls the device: up to 60 characters, what is not ASCII as UTF-8 with percent signs."""

LONGEST_DEVICE = 60
"""Characters of a device's name."""

_EDGE_ADDRESS = "x-envoy-external-address"
"""The client's address as the edge saw it. The edge sets it on every call, whatever a client sends."""

_LONGEST_HEADER = 512
_PLATFORMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "Mac"),
    ("Linux", "Linux"),
)
# In this order: most browsers claim to be several.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_PRODUCT = re.compile(r"[A-Za-z][A-Za-z0-9 ._-]{0,39}")

Metadata = Iterable[tuple[str, str | bytes]]


@dataclass(frozen=True, slots=True)
class Client:
    """Where a call comes from."""

    address: str
    """Whom limits count: an IPv4 address, or the /64 of an IPv6 address. Empty when nobody knows."""
    device: str
    """A name to show to the device's owner, up to 60 characters. May be empty."""


def client_of(metadata: Metadata, *, peer: str) -> Client:
    """Read a client from a call.

    Args:
        metadata: The call's metadata.
        peer: Who has connected, in gRPC's spelling: `ipv4:10.0.0.1:4711`. Counts where the edge has said
            nothing, which is where somebody calls from inside.
    """
    found: dict[str, str] = {}
    for key, value in metadata:
        if isinstance(value, str):
            found.setdefault(key, value)
    return Client(
        address=limited_address(found.get(_EDGE_ADDRESS, "")) or limited_address(_peer_host(peer)),
        device=_told_name(found.get(DEVICE_HEADER, ""))
        or _short_form(found.get("x-user-agent", ""))
        or _short_form(found.get("user-agent", "")),
    )


def limited_address(text: str) -> str:
    """Return whom an address counts as, or an empty string when it is none.

    Whoever has one IPv6 address has the 2**64 of its network.
    """
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))


def _peer_host(peer: str) -> str:
    kind, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else ""


def _told_name(header: str) -> str:
    """Return a device's name as its app told it; empty when it is none that could be shown."""
    if len(header) > _LONGEST_HEADER:
        return ""
    try:
        name = unicodedata.normalize("NFC", unquote(header, errors="strict").strip())
    except UnicodeDecodeError:
        return ""
    shown = all(character.isprintable() for character in name)
    return name if shown and len(name) <= LONGEST_DEVICE else ""


def _short_form(user_agent: str) -> str:
    """Return what a user agent is in a few words: "Safari on iPhone", "okhttp"."""
    if not user_agent or len(user_agent) > _LONGEST_HEADER:
        return ""
    platform = next((name for sign, name in _PLATFORMS if sign in user_agent), "")
    browser = next((name for sign, name in _BROWSERS if sign in user_agent), "")
    if not browser:
        product = _PRODUCT.match(user_agent.partition("/")[0])
        browser = product[0].strip() if product and product[0] != "Mozilla" else ""
    return " on ".join(part for part in (browser, platform) if part)
