"""``vipa cell`` on the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from vipa import cli
from vipa.commands import cell

STATE = {
    "cell": {"nodes": {"front": "active", "arm": "missing"}},
    "arm": {"mode": "REFLEX", "detail": "joint 4"},
    "hand": {"connected": True, "detail": ""},
    "policy": {"name": "vipa", "instruction": ""},
    "recorder": {"recording": True, "episode": "episode_000003"},
    "trial": {"asks": True, "trial": "reach-1", "text": "touch red - done?"},
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> tuple[list[list[str]], dict[str, Any]]:
    """What the client's process was asked, and what it answers."""
    lines: list[list[str]] = []
    answer: dict[str, Any] = {"success": True, "message": "stopped"}

    def ask(what: str, module: str, arguments: list[str], domain: int | None) -> dict[str, Any]:
        lines.append([what, module, *arguments, str(domain)])
        return answer

    monkeypatch.setattr(cell, "ask", ask)
    return lines, answer


@pytest.mark.parametrize(("arguments", "kind", "text"), [
    (["stop"], "", ""),
    (["reset"], "", ""),
    (["instruct", "wipe the board"], "", "wipe the board"),
    (["answer", "yes"], "yes", ""),
    (["answer", "abort", "the cloth fell"], "abort", "the cloth fell"),
])  # fmt: skip
def test_the_cell_is_asked(
    asked: tuple[list[list[str]], dict[str, Any]], tmp_path: Path, arguments: list[str], kind: str, text: str
) -> None:
    result = tmp_path / "result.json"
    assert cli.main(["cell", *arguments, "--domain", "7", "--json", str(result)]) == 0
    expected = [f"cell {arguments[0]}", "vipa.nodes.cell_client", arguments[0], "--kind", kind, "--text", text, "7"]
    assert asked[0] == [expected]
    assert json.loads(result.read_text())["command"] == f"cell {arguments[0]}"


def test_a_refusal_fails(asked: tuple[list[list[str]], dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    asked[1].update(success=False, message="no supervisor answers")
    assert cli.main(["cell", "stop"]) == 1
    assert capsys.readouterr().err == "no supervisor answers\n"


def test_the_status_names_every_part(
    asked: tuple[list[list[str]], dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    asked[1].update(message="cell FAULT: joint 4", state=STATE)
    assert cli.main(["cell", "status"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "cell FAULT: joint 4",
        "  front: active",
        "  arm: missing",
        "arm REFLEX joint 4",
        "hand connected",
        "policy vipa: no instruction",
        "recorder: recording episode_000003",
        "trial reach-1 asks: touch red - done?",
    ]


def test_a_cell_that_says_nothing_has_a_short_status(
    asked: tuple[list[list[str]], dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    asked[1].update(message="cell STARTING", state={name: {} for name in STATE} | {"trial": {"asks": False}})
    assert cli.main(["cell", "status"]) == 0
    assert capsys.readouterr().out == "cell STARTING\n"
