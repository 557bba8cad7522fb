"""``vipa serve --lab``: the workstation listens where the laboratory's YAML says that the robot PC asks."""

from pathlib import Path

import pytest

from vipa.cli import make_parser
from vipa.commands.serve import chosen_policy, listening
from vipa.errors import ConfigurationError
from vipa.lab import LAB_FOLDER


def chosen(*arguments: str) -> tuple[str, int, Path | None]:
    return listening(make_parser().parse_args(["serve", *arguments]))


@pytest.fixture
def lab(tmp_path: Path) -> str:
    file = tmp_path / "lab.yaml"
    workstation = "workstation: {address: 192.168.1.20, port: 8001, token_file: /etc/vipa/token}"
    file.write_text(
        f"{(LAB_FOLDER / 'example_real.yaml').read_text(encoding='utf-8')}\n{workstation}\n", encoding="utf-8"
    )
    return str(file)


def test_a_checkpoint_is_served_as_vipa() -> None:
    def policy(*arguments: str) -> tuple[str, dict[str, object]]:
        return chosen_policy(make_parser().parse_args(["serve", *arguments]))

    assert policy() == ("scripted", {})
    assert policy("--policy", "wave") == ("wave", {})
    given = policy("--checkpoint", "runs/nano", "--policy-option", "runtime=torch")
    assert given == ("vipa", {"checkpoint": "runs/nano", "runtime": "torch"})


def test_without_a_laboratory_only_this_machine_is_served() -> None:
    assert chosen() == ("127.0.0.1", 8000, None)


def test_the_laboratorys_workstation_is_the_default_and_options_win(lab: str) -> None:
    assert chosen("--lab", lab) == ("192.168.1.20", 8001, Path("/etc/vipa/token"))
    given = chosen("--lab", lab, "--host", "0.0.0.0", "--port", "0", "--token-file", "mine")
    assert given == ("0.0.0.0", 0, Path("mine"))


def test_a_laboratory_without_a_workstation_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="laboratory simulated has no workstation; add it, or leave out --lab"):
        chosen("--lab", "simulated")
