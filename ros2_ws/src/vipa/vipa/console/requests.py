"""What a page may ask for, read strictly from the JSON that it sends."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from vipa.errors import VipaError

MAX_TEXT_LENGTH = 500  # characters of one field
MAX_AGE_S = 2.0
ACTIONS: Mapping[str, tuple[str, ...]] = {
    "stop": (),
    "reset": (),
    "instruct": ("text",),
    "record_start": ("text",),
    "record_stop": ("kind",),
    "record_discard": ("text",),
    "mark": ("kind", "text"),
    "answer": ("trial", "sub_task", "kind", "text"),
    "frame": ("camera",),
    "thumbnail": ("episode",),
}
"""Every action with its fields, all of them texts."""

AGELESS = ("stop", "frame", "thumbnail")
"""Actions that are carried out however old the request is: none of them can make anything move."""


class RequestError(VipaError):
    """A page asked for what cannot be understood, or is refused."""


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        number: of the page; its answer has the same.
        action: a key of ``ACTIONS``.
        fields: the texts that belong to the action.
        seen: ``now`` of the newest state that the page had when the operator asked, s of the server's steady clock.
    """

    number: int
    action: str
    fields: Mapping[str, str]
    seen: float

    def check_age(self, now: float) -> None:
        """Refuse what an operator asked for while the page showed an old state, or what was long on its way.

        Raises:
            RequestError: it is older than ``MAX_AGE_S``.
        """
        if self.action not in AGELESS and not 0.0 <= now - self.seen <= MAX_AGE_S:
            raise RequestError(f"{self.action}: refused: it came {now - self.seen:.1f} s late. Look, and ask again")


@dataclass(frozen=True)
class Reply:
    """What became of a request: one line for a person."""

    success: bool
    message: str


def read_object(text: str | bytes) -> dict[str, Any]:
    """The JSON object in a message.

    Raises:
        RequestError: it holds none.
    """
    try:
        content = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise RequestError("request: expected a JSON object")
    return cast(dict[str, Any], content)


def read_request(text: str | bytes) -> Request:
    """The request in a message.

    Raises:
        RequestError: it is none, has an unknown action, or a field is missing, unknown, no text or too long.
    """
    content = read_object(text)
    number, action, seen = content.pop("id", None), content.pop("do", None), content.pop("seen", 0.0)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**53:
        raise RequestError(f"request: id: expected a whole number, found {number!r:.40}")
    if not isinstance(seen, int | float) or isinstance(seen, bool):
        raise RequestError(f"request: seen: expected a number, found {seen!r:.40}")
    if not isinstance(action, str) or action not in ACTIONS:
        raise RequestError(f"request: do: {action!r:.40} is none of {', '.join(ACTIONS)}")
    names = ACTIONS[action]
    if set(content) != set(names):
        raise RequestError(f"request {action}: expected the fields {', '.join(names) or 'none'}")
    for name in names:
        value = content[name]
        if not isinstance(value, str) or len(value) > MAX_TEXT_LENGTH or not value.isprintable():
            raise RequestError(f"request {action}: {name}: expected one line of at most {MAX_TEXT_LENGTH} characters")
    return Request(number, action, content, float(seen))
