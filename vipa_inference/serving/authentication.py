"""The token that a client of the policy server shows: ``Authorization: Api-Key <token>``."""

import hmac
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from vipa_inference.policy import PolicyError

TOKEN_VARIABLE = "VIPA_POLICY_TOKEN"
SCHEME = "Api-Key"
CLIENT_HEADER = "Vipa-Client"
"""Says which client it is, so that its episode goes on when it connects again."""


def read_token(file: Path | None, variable: str = TOKEN_VARIABLE) -> str | None:
    """The token in a file or, without one, in the environment's ``variable``; None where there is none.

    It never stands on a command line, where every user of the machine could read it.

    Raises:
        PolicyError: the file cannot be read, or the token is empty or holds spaces or characters outside ASCII.
    """
    if file is None:
        token, where = os.environ.get(variable) or None, variable
    else:
        where = str(file)
        try:
            token = file.expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no text"
            raise PolicyError(f"token {where}: cannot be read: {reason}") from None
    if token is not None and not (token and token.isascii() and token.isprintable() and " " not in token):
        raise PolicyError(f"token {where}: expected one line of printable ASCII without spaces")
    return token


def authorization(token: str) -> str:
    """The value of the header ``Authorization``."""
    return f"{SCHEME} {token}"


def is_authorised(headers: Sequence[str], token: str) -> bool:
    """Whether the one header ``Authorization`` shows the token; takes as long for a wrong one as for the right one."""
    return len(headers) == 1 and hmac.compare_digest(headers[0].encode(), authorization(token).encode())


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server at ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
