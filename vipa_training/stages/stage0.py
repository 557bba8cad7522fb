"""Stage 0: pretraining of a small model, in the place of public weights, which the paper begins with (Sec. 4.1).

Semantic encoder, projector and language model learn from lessons (see ``lessons.py``), which say nothing of the space
in a picture, and from what each image token shows; the spatial encoder learns pointmaps and the camera's movement, as
CUT3R did. The fusion does not learn.
"""

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from vipa_inference.checkpoint import save_checkpoint
from vipa_inference.tokenizers import TOKENIZER_FILE, make_tokenizer
from vipa_training.engine.distributed import World
from vipa_training.engine.errors import TrainingError
from vipa_training.engine.folder import held
from vipa_training.engine.loop import Loop, Task
from vipa_training.hand3d.directions import DIRECTIONS
from vipa_training.hand3d.stored_clips import read_clips
from vipa_training.stages.conversations import ConversationEncoder
from vipa_training.stages.hand3d_samples import READ_ERRORS
from vipa_training.stages.lesson_samples import LessonSamples, lesson_loss
from vipa_training.stages.lessons import Lesson, check_clips, lessons_of
from vipa_training.stages.optimisation import post_training_groups
from vipa_training.stages.parts import LEARNING, accounting, count_parts, let_learn, part_of
from vipa_training.stages.pretraining import Pretrained
from vipa_training.stages.recipes import Stage0Config
from vipa_training.stages.start import Start, make_model
from vipa_training.stages.vocabulary import learn_tokenizer

BACKBONE = "backbone"
"""Folder within the training's: the model without spatial encoder and fusion, the first row of the paper's Table 8."""


def prepare(
    start: Start,
    datasets: Sequence[Path],
    out: Path,
    config: Stage0Config,
    world: World,
    say: Callable[[str], None] = print,
    show_progress: bool = False,
) -> Pretrained:
    """Train, or go on where a training with the same options was cut off.

    Args:
        start: a preset with a spatial encoder, with random weights.
        datasets: whose clips of the training split are looked at; they need depths.
        out: of the training; its checkpoint is there, too, and that of the ``BACKBONE``.
        config: how.
        world: one process.
        say: tells what is done.
        show_progress: on standard error.

    Raises:
        TrainingError, PolicyError, Hand3DError: something is wrong; the message says what, in one line.
    """
    spatial = start.config.spatial
    if start.checkpoint is not None or spatial is None or spatial.head == "none":
        raise TrainingError("stage0: begins with a preset whose spatial encoder has heads, such as pico or nano")
    if world.processes > 1:
        raise TrainingError("stage0: is for small models, and done by one process; do not start it with torchrun")
    clips = read_clips(datasets, "train")
    check_clips(clips)
    lessons = [lesson for clip in clips for lesson in lessons_of(clip, config.reading, config.engine.seed)]
    model = make_model(start, None, config.engine.seed)
    let_learn(model, LEARNING["stage0"])
    parts = count_parts(model)
    say(f"{len(clips)} clips, {len(lessons)} lessons, {config.optimisation.steps} steps of {config.engine.batch}")
    say(accounting(parts))
    description = {
        "stage": "stage0",
        **dataclasses.asdict(config),
        "model": dataclasses.asdict(start.config),
        "dataset": {"lessons": len(lessons), "sha256": _digest(lessons)},
    }
    with held(out, description, world):
        if start.config.language.tokenizer == "qwen":
            things = {word for clip in clips for name in clip.objects for word in name.split()}
            learn_tokenizer(_texts(lessons), {*DIRECTIONS, *things}, start.config.language, out / TOKENIZER_FILE)
        encoder = ConversationEncoder(start.config, make_tokenizer(start.config.language, out))
        samples = LessonSamples(lessons, encoder, config.turns, config.measured, config.engine.seed)
        words = samples.word_ids
        task = Task(
            model=model,
            groups=lambda: post_training_groups(model, config.optimisation),
            optimisation=config.optimisation,
            samples=samples,
            loss=lambda batch: lesson_loss(model, batch, words, config.word, config.geometry),
            save=lambda tensors: _save(out, tensors, start),
            methods=(),
            errors=READ_ERRORS,
        )
        loop = Loop(task, config.engine, out, world, f"stage0 of {start.config.name}: {out.name}")
        if loop.first_step:
            say(f"goes on at step {loop.first_step} of {config.optimisation.steps}")
        loop.run(show_progress)
    return Pretrained(loop.first_step, config.optimisation.steps, loop.records, parts, len(lessons))


def _texts(lessons: Sequence[Lesson]) -> list[str]:
    turns = [turn for lesson in lessons for about in lesson.turns.values() for turn in about]
    return [text for turn in turns for text in (turn.question, turn.answer)]


def _digest(lessons: Sequence[Lesson]) -> str:
    shown = [f"{lesson.clip} {lesson.places}" for lesson in lessons]
    return hashlib.sha256("\n".join([*shown, *_texts(lessons)]).encode()).hexdigest()


def _save(out: Path, tensors: Mapping[str, Tensor], start: Start) -> None:
    save_checkpoint(out, tensors, start.config)
    kept = {name: tensor for name, tensor in tensors.items() if part_of(name) not in ("spatial_encoder", "fusion")}
    save_checkpoint(out / BACKBONE, kept, replace(start.config, spatial=None))
    if start.config.language.tokenizer == "qwen":
        shutil.copyfile(out / TOKENIZER_FILE, out / BACKBONE / TOKENIZER_FILE)
