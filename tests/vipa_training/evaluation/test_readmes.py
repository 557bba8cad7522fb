"""The commands of the benchmarks' READMEs: each is one that there is, with options that there are."""

import re
import shlex
from pathlib import Path

import pytest

from vipa import cli
from vipa_training import evaluation
from vipa_training.evaluation.libero import __main__ as libero
from vipa_training.evaluation.robocasa import __main__ as robocasa

FOLDER = Path(evaluation.__file__).parent
MODULES = {"libero": libero, "robocasa": robocasa}


def commands(name: str) -> list[list[str]]:
    """Of the code blocks of a README: those of VIPA."""
    blocks = re.findall(r"```\n(.*?)```", (FOLDER / name / "README.md").read_text(), re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [line for line in lines if line[:1] == ["vipa"] or any(word.startswith("vipa_training.") for word in line)]


@pytest.mark.parametrize("name", MODULES)
def test_every_command_is_understood(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = commands(name)
    for words in found:
        if words[0] == "vipa":
            parser, arguments = cli.make_parser(), words[1:]
        else:
            module = next(word for word in words if word.startswith("vipa_training."))
            assert module == f"vipa_training.evaluation.{name}"
            parser, arguments = MODULES[name].make_parser(), words[words.index(module) + 1 :]
        parser.parse_args(arguments)
        with pytest.raises(SystemExit, match="0"):
            parser.parse_args([*arguments, "--help"])
        assert "usage: " in capsys.readouterr().out
    steps = [words[:3] for words in found]
    assert [one[1:3] for one in steps[:3]] == [["dataset", "import"], ["dataset", "check"], ["train", "stage3"]]
    assert steps[3][:2] == ["vipa", "serve"]
    assert len(steps) == 5
