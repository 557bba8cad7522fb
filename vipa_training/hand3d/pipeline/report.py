"""What a data set holds, in the shape of the paper's Tables 1 and 2 and beside their counts."""

from collections.abc import Mapping
from typing import Any

PAPER_VISUAL_SOURCES = {
    "ARCTIC": 100_772,
    "OakInk2": 45_926,
    "TACO": 39_087,
    "H2O": 32_390,
    "HOI4D": 28_977,
    "EgoDex": 28_200,
    "FPHA": 12_918,
    "Taste-Rob": 7_181,
    "DexYCB": 4_917,
}
PAPER_VISUAL_TASKS = {
    "task_completion": 206_409,
    "spatial_relationship": 74_887,
    "hand_movement": 18_867,
    "camera_movement": 205,
}
PAPER_ACTION_SOURCES = {
    "EgoDex": 758_050,
    "ARCTIC": 104_032,
    "TACO": 77_100,
    "OakInk2": 54_470,
    "HOI4D": 19_812,
    "H2O": 17_386,
}
PAPER_ACTION_TASKS = {
    "instructional_motion_generation": 610_192,
    "contextual_motion_prediction": 280_545,
    "motion_translation": 140_113,
}
_TABLES = (
    ("visual", "Hand3D-visual (paper, Table 1)", PAPER_VISUAL_SOURCES, PAPER_VISUAL_TASKS, 300_368),
    ("action", "Hand3D-action (paper, Table 2)", PAPER_ACTION_SOURCES, PAPER_ACTION_TASKS, 1_030_850),
)


def report(description: Mapping[str, Any]) -> str:
    """Two tables, and what was not used, as text."""
    lines: list[str] = []
    for kind, title, sources, tasks, total in _TABLES:
        counts = description["items"][kind]
        lines += [title, f"  {'':34}{'here':>10}{'share':>8}{'paper':>12}{'share':>8}"]
        found = sum(counts["category"].values())
        for heading, own, theirs in (
            ("Sources", counts["source"], sources),
            ("Task types", counts["category"], tasks),
        ):
            lines.append(f"  {heading}")
            for name in [*theirs, *(name for name in own if name not in theirs)]:
                lines.append(_line(name.replace("_", " "), own.get(name, 0), found, theirs.get(name, 0), total))
        lines.append(_line("Total", found, found, total, total))
        lines.append(f"  of these {counts['test']} in the test, {counts['train']} in training")
        lines.append("")
    clips = description["clips"]
    lines.append(f"clips: {clips['looked_at']} looked at, {clips['used']} used, {clips['rejected']} rejected")
    lines += [f"  {count:8} {reason}" for reason, count in description["rejected"].items()]
    if description["dropped"]:
        lines.append("facts and motions that were not used")
        lines += [f"  {count:8} {reason}" for reason, count in description["dropped"].items()]
    return "\n".join(lines)


def _line(name: str, own: int, all_own: int, theirs: int, all_theirs: int) -> str:
    share = f"{own / all_own:.1%}" if all_own else "-"
    return f"    {name:32}{own:>10,}{share:>8}{theirs:>12,}{theirs / all_theirs:>8.1%}"
