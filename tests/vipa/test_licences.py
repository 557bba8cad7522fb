"""The list of other people's packages is that of the lock files, and none has a licence that would not do."""

from pathlib import Path

import pytest

from vipa.licences import EXCEPTIONS, Package, licence, packages, pinned, table

ROOT = Path(__file__).parents[2]
WRITTEN = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")


def rows() -> dict[tuple[str, str], str]:
    lines = [line for line in WRITTEN.splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {(name, version): text for name, version, text in cells}


def test_every_pinned_package_is_listed_with_its_version_and_no_other() -> None:
    assert set(rows()) == set(pinned(ROOT)), "make it anew: python -m vipa.licences > THIRD_PARTY.md"
    assert all(rows().values())


def test_what_is_installed_says_what_the_list_says() -> None:
    installed = [package for package in packages(ROOT) if package.licence]
    assert len(installed) > 50
    assert {line for line in table(installed).splitlines() if line.startswith("| ")} <= set(WRITTEN.splitlines())


def test_every_licence_will_do_or_is_an_exception_with_a_reason() -> None:
    listed = [Package(name, version, text.partition(" (")[0]) for (name, version), text in rows().items()]
    assert {package.name for package in listed if not package.is_acceptable} == set(EXCEPTIONS)


@pytest.mark.parametrize(
    ("text", "will_do"),
    [
        ("MIT", True), ("Apache-2.0 AND BSD-3-Clause", True), ("GNU Lesser General Public License v3 (LGPLv3)", True),
        ("Public Domain / BSD License / GNU General Public License (GPL)", True), ("GPL-3.0-or-later OR MIT", True),
        ("GPL-3.0-or-later", False), ("MIT AND GPL-2.0-only", False), ("AGPL-3.0", False), ("", False),
        ("Other/Proprietary License", False), ("GNU General Public License v3 (GPLv3)", False),
    ],
)  # fmt: skip
def test_what_will_do(text: str, will_do: bool) -> None:
    assert Package("x", "1", text).is_acceptable is will_do


def test_a_package_that_is_not_there_says_nothing() -> None:
    assert licence("no-such-package-anywhere") == ""
