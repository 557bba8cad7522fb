"""Under which licences the packages come that ``make setup`` installs: ``python -m vipa.licences > THIRD_PARTY.md``.

The licence is what the package itself says: its licence expression, else its classifiers, else the first line of its
field ``License``; for a ROS 2 package that of its ``package.xml``.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from xml.etree import ElementTree

from vipa.environment import repository_folder

LOCKS = ("requirements.lock", "requirements-no-deps.lock")
STATED_ELSEWHERE = {
    "setuptools": "MIT",  # its LICENSE
    "cmeel-qhull": "Qhull",  # COPYING.txt of Qhull 8.0
    "openpi-client": "Apache-2.0",  # of its repository
    "ros-fastcdr": "Apache-2.0",
    "ros-fastrtps": "Apache-2.0",
}
"""Packages that say nothing in their metadata, with the licence that their sources state."""
EXCEPTIONS = {
    "tensorrt-rtx-cu13-bindings": "development only, and left out with VIPA_NVIDIA=no",
    "tensorrt-rtx-cu13-libs": "development only, and left out with VIPA_NVIDIA=no",
}
"""Packages whose licence would not do, and why they are there."""
_ACCEPTABLE = (
    *(
        "MIT",
        "Apache",
        "0BSD",
        "BSD",
        "BSL-1.0",
        "ISC",
        "Zlib",
        "zlib",
        "PSF",
        "Python Software Foundation",
        "Qhull",
        "CNRI-Python",
    ),
    *("MPL", "Mozilla", "LGPL", "Lesser", "Public Domain", "any-OSI", "Unlicense", "CC0-1.0", "Boost", "HPND"),
)
"""Permissive ones, and weak copyleft: such packages are used as they come, loaded as libraries of their own."""
_NAME = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)")


@dataclass(frozen=True)
class Package:
    """One pinned package; ``licence`` is empty where it is not installed, or says nothing."""

    name: str
    version: str
    licence: str

    @property
    def is_acceptable(self) -> bool:
        """Whether every part of one of the alternatives that the licence gives is permissive or weak copyleft."""
        choices = [choice.split(" AND ") for choice in re.split(r" / | OR ", self.licence)]
        return any(all(any(word in part for word in _ACCEPTABLE) for part in parts) for parts in choices)


def pinned(root: Path) -> Iterator[tuple[str, str]]:
    """Name and version of every package that is pinned in the repository."""
    for lock in LOCKS:
        for line in (root / lock).read_text(encoding="utf-8").splitlines():
            found = _NAME.match(line)
            if found:
                yield found[1], found[2]


def packages(root: Path) -> list[Package]:
    """The pinned packages with their licences, by name."""
    return sorted((Package(name, version, licence(name)) for name, version in pinned(root)), key=lambda p: p.name)


def licence(name: str) -> str:
    """The licence of an installed package; empty where it is not installed, or says nothing."""
    if name in STATED_ELSEWHERE:
        return STATED_ELSEWHERE[name]
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return ""
    return _from_metadata(found) or _from_package_xml(name)


def table(found: list[Package]) -> str:
    """The packages as a document in Markdown."""
    rows = [f"| {p.name} | {p.version} | {p.licence}{_remark(p.name)} |" for p in found]
    return "\n".join(
        (
            "# Packages of others",
            "",
            "What `make setup` installs, with the licence that each package states. Made by "
            "`python -m vipa.licences > THIRD_PARTY.md`;",
            "a test fails where this table is not that of the lock files. None of these packages is part of this "
            "repository.",
            "Wheels bring libraries along: PyAV's (`av`) brings x264, which is GPL; mind that before you redistribute "
            "an image with it.",
            "",
            "| package | version | licence |",
            "|---|---|---|",
            *rows,
            "",
        )
    )


def _remark(name: str) -> str:
    return f" ({EXCEPTIONS[name]})" if name in EXCEPTIONS else ""


def _from_metadata(found: Distribution) -> str:
    def field(name: str) -> list[str]:
        return found.metadata.get_all(name) or []

    expression = "".join(field("License-Expression"))
    classifiers = [c.rpartition(" :: ")[2] for c in field("Classifier") if c.startswith("License")]
    first_line = next(iter("".join(field("License")).strip().splitlines()), "")
    return expression or " / ".join(classifiers) or first_line[:80]


def _from_package_xml(name: str) -> str:
    """The licence of a ROS 2 wheel, whose package.xml lies in the environment."""
    package = name.removeprefix("ros-").removeprefix("jazzy-").replace("-", "_")
    path = Path(sys.prefix) / "share" / package / "package.xml"
    if not name.startswith("ros-") or not path.is_file():
        return ""
    return " AND ".join(sorted({(e.text or "").strip() for e in ElementTree.parse(path).iter("license")}))


if __name__ == "__main__":
    sys.stdout.write(table(packages(repository_folder())))
