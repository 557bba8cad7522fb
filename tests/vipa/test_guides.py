"""The guides: every command in them is one that ``vipa`` takes, and every file one that is there."""

import re
import shlex
from argparse import ArgumentParser
from functools import cache
from pathlib import Path

import pytest

from vipa.cli import make_parser

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ros2_ws" / "src" / "vipa"
GUIDES = sorted((PACKAGE / "docs").glob("*.md"))
FOLDERS = (ROOT, PACKAGE, PACKAGE / "docs")
YOURS = ("my_lab.yaml", "views/", "calibrated/", "recordings/", "results/", "logs/")
"""What a reader makes himself."""
FILE = re.compile(r"[\w.-]+(/[\w.-]+)*(/|\.(py|md|yaml|xml|msg|toml))")
NAMED = {"KEY=VALUE": "key=1", "NAME": "wave", "FOLDER": "folder", "FILE": "file"}
LONGEST = 300  # lines of an example


def spans(text: str) -> list[str]:
    """What stands between backquotes, and each line of shell and code that has no language."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [*re.findall(r"`([^`\n]+)`", prose), *(line for block in blocks for line in block.splitlines())]


def commands(text: str) -> list[str]:
    """The ``vipa`` commands in a text."""
    parts = (part.strip() for span in spans(text) for part in re.split(r"&&|\|\||;|#", span))
    return [part for part in parts if re.fullmatch(r"vipa( \S+)+", part)]


def test_there_are_guides() -> None:
    assert {"architecture.md", "commissioning.md", "extending.md"} <= {guide.name for guide in GUIDES}
    linked = (PACKAGE / "README.md").read_text()
    assert all(f"(docs/{guide.name})" in linked for guide in GUIDES)


@cache
def parser() -> ArgumentParser:
    return make_parser()


def is_taken(command: str, capsys: pytest.CaptureFixture[str]) -> bool:
    """Whether ``vipa`` takes a command, or the begin of one, as "vipa record" and "vipa doctor --lab" are."""
    words = [NAMED.get(word, word) for word in shlex.split(command)[1:]]
    try:
        parser().parse_args(words)
    except SystemExit:
        said = capsys.readouterr().err
        return len(words) <= 2 and ("required" in said or "expected one argument" in said)
    return True


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_every_command_is_one(guide: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [command for command in commands(guide.read_text()) if not is_taken(command, capsys)] == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_every_file_is_there(guide: Path) -> None:
    text = guide.read_text()
    named = [span for span in spans(text) if FILE.fullmatch(span) and not span.startswith(YOURS)]
    linked = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    missing = [name for name in named + linked if not any((folder / name).exists() for folder in FOLDERS)]
    assert missing == []


def test_the_examples_of_extensions_are_short() -> None:
    rows = re.findall(r"^\| a (\w+) \| ([^|]+)\|", (PACKAGE / "docs" / "extending.md").read_text(), flags=re.MULTILINE)
    assert {kind for kind, _ in rows} == {"robot", "hand", "camera", "task", "policy"}
    for kind, cell in rows:
        files = [next(f / name for f in FOLDERS if (f / name).exists()) for name in re.findall(r"`([^`]+)`", cell)]
        assert 1 <= len(files) <= 2, kind
        assert sum(len(file.read_text().splitlines()) for file in files) <= LONGEST, kind


def test_a_wrong_command_or_file_would_be_seen(capsys: pytest.CaptureFixture[str]) -> None:
    block = "\n```\nvipa bringup --policy wave && vipa cell halt\n```\n"
    found = commands(f"`vipa calibrate board` and `vipa fly --high`\n{block}`vipa/nodes/none.py`")
    assert found == ["vipa calibrate board", "vipa fly --high", "vipa bringup --policy wave", "vipa cell halt"]
    assert [is_taken(command, capsys) for command in found] == [True, False, True, False]
    assert FILE.fullmatch("vipa/nodes/none.py")
