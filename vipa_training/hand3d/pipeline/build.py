"""Build a data set, or go on with one: shards that are there stay, and the end is the same."""

import json
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vipa_training.data.files import write_json
from vipa_training.hand3d.dataset import read_description
from vipa_training.hand3d.errors import Hand3DError
from vipa_training.hand3d.format import DESCRIPTION
from vipa_training.hand3d.pipeline.annotate import chosen_clips
from vipa_training.hand3d.pipeline.assemble import assemble
from vipa_training.hand3d.pipeline.config import BuildConfig, Places
from vipa_training.hand3d.pipeline.engines import Task, reports
from vipa_training.hand3d.pipeline.shards import is_done

BUILD = "build.json"


@dataclass(frozen=True)
class Built:
    """What a run has done.

    Attributes:
        description: of the data set.
        clips: that this run looked at.
        items: that it made, before doubles went.
        seconds: it took.
        workers: at once.
    """

    description: dict[str, Any]
    clips: int
    items: int
    seconds: float
    workers: int

    @property
    def items_per_second(self) -> float:
        """Of one worker, that is of one core."""
        return self.items / self.seconds / self.workers


def build(
    config: BuildConfig,
    places: Places,
    workers: int = 1,
    engine: str = "local",
    say: Callable[[str], None] = print,
    show_progress: bool = True,
) -> Built:
    """Build a data set. A run that was cut off goes on; a finished one is left as it is.

    Args:
        config: what the data set is.
        places: where things are.
        workers: processes.
        engine: of ``engines.ENGINES``.
        say: receives what a person should know.
        show_progress: draw a bar.

    Raises:
        Hand3DError: the source has no clips, the folder holds another data set or something else, or a model or a
            licensed file is missing.
    """
    start = time.monotonic()
    try:
        with _only_one(places.out):
            _claim(config, places.out)
            if (places.out / DESCRIPTION).is_file():
                say(f"{places.out}: is complete")
                return Built(read_description(places.out), 0, 0, time.monotonic() - start, workers)
            clips = chosen_clips(config, places.root)
            size = config.shard_clips
            tasks = [Task(i // size, tuple(clips[i : i + size])) for i in range(0, len(clips), size)]
            waiting = [task for task in tasks if not is_done(places.out, task.number)]
            if len(waiting) < len(tasks):
                say(f"goes on: {len(tasks) - len(waiting)} of {len(tasks)} shards are there")
            done = items = rejected = 0
            there = len(clips) - sum(len(task.identifiers) for task in waiting)
            with tqdm(total=len(clips), initial=there, unit="clip", disable=not show_progress) as bar:
                for report in reports(config, places, waiting, workers, engine):
                    done, items = done + report.clips, items + report.items
                    rejected += report.rejected
                    bar.update(report.clips)
                    bar.set_postfix(items=items, rejected=rejected)
            description = assemble(config, places.out, len(tasks), len(clips))
    except OSError as error:
        raise Hand3DError(f"{places.out}: cannot be written: {error}") from None
    return Built(description, done, items, time.monotonic() - start, workers)


def _claim(config: BuildConfig, out: Path) -> None:
    """Say in the folder what is built there, or see that it is the same.

    Raises:
        Hand3DError: it is something else.
    """
    path, wanted = out / BUILD, json.loads(json.dumps(config.recorded()))
    if not path.is_file():
        foreign = sorted(item.name for item in out.iterdir() if not item.name.startswith("."))
        if foreign:
            raise Hand3DError(f"{out}: holds something else ({foreign[0]}); name a new folder")
        write_json(path, wanted)
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Hand3DError(f"{path}: cannot be read: {error}") from None
    for key in sorted(set(found) | set(wanted)):
        if found.get(key) != wanted.get(key):
            begun = f"{key} {found.get(key)}, not {wanted.get(key)}"
            raise Hand3DError(f"{out}: was begun with {begun}; name a new folder, or say the same")


@contextmanager
def _only_one(out: Path) -> Generator[None]:
    """No other process builds in the folder meanwhile.

    Raises:
        Hand3DError: one does.
    """
    import fcntl

    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Hand3DError(f"{out}: another process builds there") from None
        yield
