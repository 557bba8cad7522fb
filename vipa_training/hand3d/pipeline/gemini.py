"""Questions by Gemini: all facts of a clip in one request, the answers as checked JSON, kept on the disk."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vipa_training.data.files import write_json
from vipa_training.hand3d.directions import direction_words, distance_words
from vipa_training.hand3d.errors import Hand3DError, Rejection
from vipa_training.hand3d.pipeline.config import GeminiConfig
from vipa_training.hand3d.rotations import rotation_words
from vipa_training.hand3d.templates import Question, is_moving
from vipa_training.hand3d.visual import Measurement, VisualConfig

KEY = "GEMINI_API_KEY"
_PASSING = (408, 429, 500, 502, 503, 504)  # what may be better a moment later
_INSTRUCTIONS = """You write questions and answers that teach a model about space in videos of hands.
Below is a JSON list of measured facts. For each fact write one natural question that it answers, and its answer.
Vary the wording. In the answer keep every number with its unit and exactly the given words of direction; name no other
direction and no other number. For "contact" say whether hand and object are in contact or not. For a camera keep
"turn" word for word in one sentence and the movement in another. Questions of task_completion name the task and ask
how the hand should move. Do not give the answer away in the question. Give back a list of objects with the fields
number, question and answer, one for each fact, with the fact's number.

"""


class GeminiWriter:
    """Writes by a model of Google's.

    Args:
        config: how.
        visual: thresholds of the words.
        cache: folder of answers; the same facts are not paid for twice. None: none are kept.
        workers: that share limits.

    Raises:
        Hand3DError: the package or the key is missing.
    """

    def __init__(self, config: GeminiConfig, visual: VisualConfig, cache: Path | None = None, workers: int = 1) -> None:
        try:
            from google import genai
            from google.genai import types
        except ImportError:
            raise Hand3DError("gemini: needs the package google-genai; pip install '.[gemini]'") from None
        key = os.environ.get(KEY, "")
        if not key:
            raise Hand3DError(f"gemini: no key; put it into the environment as {KEY}")
        self.name = config.model
        self.config, self.visual, self.cache = config, visual, cache
        self.pause = 60.0 * workers / config.per_minute  # s between requests of this worker
        self.budget = config.budget / workers
        self.spent = 0.0  # USD
        self._next = 0.0  # s, monotonic, when the next request may be made
        options = types.HttpOptions(base_url=config.url or None, timeout=int(1000 * config.timeout))
        self._client: Any = genai.Client(api_key=key, http_options=options)
        self.sleep: Callable[[float], None] = time.sleep

    def write(self, measurements: Sequence[Measurement]) -> list[Question]:
        """For each fact of a clip a question that it answers.

        Raises:
            Rejection: the service refuses, or answers with something else.
            Hand3DError: the budget is spent.
        """
        if not measurements:
            return []
        facts = [self._fact(number, measurement) for number, measurement in enumerate(measurements)]
        prompt = _INSTRUCTIONS + json.dumps(facts)
        name = hashlib.sha256(f"{self.config.model}\n{prompt}".encode()).hexdigest()
        path = None if self.cache is None else self.cache / name[:2] / f"{name}.json"
        if path is not None and path.is_file():
            return _questions(path.read_text(encoding="utf-8"), len(facts))
        text = self._asked(prompt)
        found = _questions(text, len(facts))
        if path is not None:
            write_json(path, {"items": [{"number": i, **vars(item)} for i, item in enumerate(found)]})
        return found

    def _fact(self, number: int, fact: Measurement) -> dict[str, Any]:
        said: dict[str, Any] = {"number": number, "category": fact.category, "frames_shown": len(fact.frames)}
        if fact.side is not None:
            said["hand"] = f"{fact.side} hand"
        if fact.target:
            said["object"] = fact.target
        if fact.task:
            said["task"] = fact.task
        if fact.contact is not None:
            said["contact"] = "in contact" if fact.contact else "not in contact"
        if fact.rotation is not None:
            said["turn"] = rotation_words(fact.rotation)
        if fact.rotation is None or is_moving(fact, self.visual):
            said["direction"] = direction_words(fact.vector, self.visual.gamma)
            said["distance"] = distance_words(float(np.linalg.norm(fact.vector)))
        return said

    def _asked(self, prompt: str) -> str:
        """What the service answers.

        Raises:
            Rejection: it refuses, or keeps failing.
            Hand3DError: the budget is spent.
        """
        from google.genai import errors, types
        from pydantic import BaseModel

        class Item(BaseModel):
            number: int
            question: str
            answer: str

        options = types.GenerateContentConfig(response_mime_type="application/json", response_schema=list[Item])
        reason = ""
        for attempt in range(self.config.attempts):
            if attempt:
                self.sleep(self.config.first_wait * 2.0 ** (attempt - 1))
            self._wait()
            try:
                answer: Any = self._client.models.generate_content(
                    model=self.config.model, contents=prompt, config=options
                )
            except errors.APIError as error:
                reason = f"gemini: {error.code} {' '.join(str(error.message).split())[:120]}"
                if error.code not in _PASSING:
                    raise Rejection(reason) from None
            except Exception as error:  # noqa: BLE001  (the client passes on errors of whichever HTTP package it finds)
                reason = f"gemini: {type(error).__name__}: {' '.join(str(error).split())[:120]}"
            else:
                self._pay(answer.usage_metadata)
                return str(answer.text or "")
        raise Rejection(reason)

    def _wait(self) -> None:
        if self.spent >= self.budget:
            raise Hand3DError(
                f"gemini: {self.spent:.2f} USD of this worker's {self.budget:.2f} are spent. "
                "The same command with a larger --gemini-budget goes on"
            )
        now = time.monotonic()
        if now < self._next:
            self.sleep(self._next - now)
        self._next = max(now, self._next) + self.pause

    def _pay(self, usage: Any) -> None:
        if usage is None:
            return
        read = usage.prompt_token_count or 0
        written = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
        self.spent += (read * self.config.price_in + written * self.config.price_out) / 1e6


def _questions(text: str, count: int) -> list[Question]:
    """The questions of an answer, in the order of the facts.

    Raises:
        Rejection: it is something else.
    """
    try:
        found: Any = json.loads(text)
        items = found["items"] if isinstance(found, dict) else found
        by_number = {int(item["number"]): Question(str(item["question"]), str(item["answer"])) for item in items}
        questions = [by_number[number] for number in range(count)]
    except (ValueError, TypeError, LookupError) as error:
        shown = " ".join(text.split())[:60]
        raise Rejection(f"gemini: no answer to {count} facts ({type(error).__name__}): {shown}") from None
    if not all(item.question.strip() and item.answer.strip() for item in questions):
        raise Rejection("gemini: an empty question or answer")
    return questions
