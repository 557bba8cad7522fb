"""Who may talk to the console: checks of HTTP headers and of the token."""

import hmac
from collections.abc import Sequence
from urllib.parse import urlsplit

from vipa.errors import ConfigurationError
from vipa_inference.serving.authentication import is_loopback

TOKEN_VARIABLE = "VIPA_CONSOLE_TOKEN"
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def check_address(host: str, token: str | None) -> None:
    """Refuse to be reachable for everybody.

    Raises:
        ConfigurationError: other machines can reach ``host``, and there is no token.
    """
    if token is None and not is_loopback(host):
        raise ConfigurationError(
            f"console: other machines can reach {host}, so its pages need a token. "
            f"Give one by console.token_file or {TOKEN_VARIABLE}, or listen on 127.0.0.1"
        )


def is_known_host(hosts: Sequence[str], has_token: bool) -> bool:
    """Whether the header ``Host`` names this server.

    Without a token only loopback names count: a page of another site whose name was made to point here ("DNS
    rebinding") is then refused. With one, such a page does not know it.
    """
    name = _name(hosts[0]) if len(hosts) == 1 else None
    return name is not None and (has_token or is_loopback(name))


def is_own_origin(origins: Sequence[str], hosts: Sequence[str]) -> bool:
    """Whether a page that opens a WebSocket came from this server; every browser says where its page came from."""
    if len(origins) != 1 or len(hosts) != 1:
        return False
    scheme, _, host = origins[0].partition("://")
    return scheme in ("http", "https") and host.lower() == hosts[0].lower()


def is_token(shown: object, token: str | None) -> bool:
    """Whether ``shown`` is the token; takes as long for a wrong one as for the right one."""
    if token is None:
        return True
    return isinstance(shown, str) and hmac.compare_digest(shown.encode(errors="replace"), token.encode())


def _name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
