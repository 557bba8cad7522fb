"""The paper's success rates on the real robot: Tables 5 and 6 of VIPA-VLA (Spatial-Aware VLA Pretraining), Sec. 4.3.

Each rate stands for 10 trials per task ("conduct 10 evaluation trials"). The sub-task rate is the share of sub-tasks
done, averaged over trials; a whole task succeeds where all of its sub-tasks do. Table 6 has no Water-Plant.
"""

from dataclasses import dataclass

PAPER_TRIALS = 10


@dataclass(frozen=True)
class PaperRate:
    """One cell of the tables; rates from 0 to 1."""

    table: int
    task: str  # name of the task in this repository
    variant: str
    model: str
    sub_task: float
    whole_task: float


_TASKS = ("put_three_obj", "wipe_board", "water_plant")
_TABLES: dict[tuple[int, str], dict[str, tuple[tuple[int, int], ...]]] = {  # percent: sub-task, whole task
    (5, "seen"): {
        "GR00T N1.5": ((48, 40), (57, 30), (53, 30)),
        "Being-H0": ((38, 20), (40, 10), (37, 20)),
        "InternVL3.5": ((34, 10), (43, 10), (37, 20)),
        "VIPA-VLA": ((52, 10), (83, 60), (57, 50)),
    },
    (6, "unseen"): {
        "GR00T N1.5": ((28, 0), (43, 10)),
        "Being-H0": ((16, 0), (33, 10)),
        "InternVL3.5": ((42, 10), (40, 10)),
        "VIPA-VLA": ((44, 20), (83, 50)),
    },
}

PAPER_RATES: tuple[PaperRate, ...] = tuple(
    PaperRate(table, task, variant, model, sub_task / 100, whole_task / 100)
    for (table, variant), rows in _TABLES.items()
    for model, cells in rows.items()
    for task, (sub_task, whole_task) in zip(_TASKS, cells, strict=False)
)
"""All cells, table by table, row by row."""


def paper_rates(task: str, variant: str) -> tuple[PaperRate, ...]:
    """What the paper reports for a task: Table 5 for "seen", Table 6 for variants whose name begins with "unseen".

    Nothing for other variants, which the paper has not.
    """
    table = 5 if variant == "seen" else 6 if variant.startswith("unseen") else 0
    return tuple(rate for rate in PAPER_RATES if rate.task == task and rate.table == table)
