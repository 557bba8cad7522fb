"""Gemini as a writer: the genuine client against a service on loopback that misbehaves."""

import re
from pathlib import Path
from typing import Any

import pytest
from fabricated_gemini import Reply, gemini, refused, said, truthful

from vipa_training.hand3d.errors import Hand3DError, Rejection
from vipa_training.hand3d.pipeline.annotate import AnnotatedClip, Annotator
from vipa_training.hand3d.pipeline.config import BuildConfig, GeminiConfig, Places

pytest.importorskip("google.genai", reason="needs google-genai")
pytest.importorskip("mujoco", reason="needs mujoco")
CLIPS = ["000000", "000001"]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "of-the-test")


def annotator(url: str, cache: Path, **limits: Any) -> Annotator:
    settings = GeminiConfig(url=url, first_wait=0.001, per_minute=1e6, timeout=5.0, **limits)
    config = BuildConfig("synthetic", clips=2, size=(48, 64), writer="gemini", gemini=settings)
    return Annotator(config, Places(cache, cache, cache=cache))


def test_facts_are_put_into_words_checked_and_not_paid_for_twice(tmp_path: Path) -> None:
    with gemini(lambda _, request: truthful(request)) as (url, requests):
        found = dict(annotator(url, tmp_path).annotate(CLIPS))
        assert len(requests) == len(CLIPS)
        assert dict(annotator(url, tmp_path).annotate(CLIPS)).keys() == found.keys()
        assert len(requests) == len(CLIPS)
    assert requests[0]["path"].endswith("/models/gemini-2.5-flash:generateContent")
    assert requests[0]["key"] == "of-the-test"
    assert requests[0]["generationConfig"]["responseMimeType"] == "application/json"
    assert requests[0]["generationConfig"]["responseSchema"]["items"]["required"]
    for clip in found.values():
        assert isinstance(clip, AnnotatedClip)
        assert len(clip.visual) > 10
        assert not any("does not say" in reason for reason in clip.dropped)
        assert all(sample.text.question.startswith("What of fact") for sample in clip.visual)


@pytest.mark.parametrize(
    ("reply", "reason", "attempts"),
    [
        (said("I would rather talk about the weather."), "no answer to .* facts .*weather", 1),
        (said("[]"), "no answer to", 1),
        ((200, {"candidates": [], "promptFeedback": {"blockReason": "SAFETY"}}), "no answer to", 1),
        (refused(429, "RESOURCE_EXHAUSTED", "quota"), "gemini: 429 quota", 3),
        (refused(400, "INVALID_ARGUMENT", "API key not valid"), "gemini: 400 API key", 1),
    ],
)
def test_a_clip_is_rejected_with_its_reason_and_the_run_goes_on(
    tmp_path: Path, reply: Reply, reason: str, attempts: int
) -> None:
    def replies(number: int, request: dict[str, Any]) -> Reply:
        return reply if number < attempts else truthful(request)

    with gemini(replies) as (url, requests):
        first, second = dict(annotator(url, tmp_path, attempts=3).annotate(CLIPS)).values()
    assert len(requests) == attempts + 1
    assert isinstance(first, Rejection)
    assert re.search(reason, str(first))
    assert isinstance(second, AnnotatedClip)


def test_what_passes_is_tried_again(tmp_path: Path) -> None:
    def replies(number: int, request: dict[str, Any]) -> Reply:
        return refused(429, "RESOURCE_EXHAUSTED", "quota") if number < 2 else truthful(request)

    with gemini(replies) as (url, requests):
        ((_, found),) = annotator(url, tmp_path).annotate(CLIPS[:1])
    assert isinstance(found, AnnotatedClip)
    assert len(requests) == 3


def test_answers_that_are_false_are_dropped(tmp_path: Path) -> None:
    def lying(_: int, request: dict[str, Any]) -> Reply:
        status, reply = truthful(request)
        part = reply["candidates"][0]["content"]["parts"][0]
        part["text"] = part["text"].replace("0.", "7.")
        return status, reply

    with gemini(lying) as (url, _):
        ((_, found),) = annotator(url, tmp_path).annotate(CLIPS[:1])
    assert isinstance(found, AnnotatedClip)
    assert not found.visual
    assert found.action
    assert all("does not say what was measured" in reason for reason in found.dropped if "hand," not in reason)


def test_the_budget_ends_the_run_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    with gemini(lambda _, request: truthful(request)) as (url, requests):
        with pytest.raises(Hand3DError, match="larger --gemini-budget"):
            list(annotator(url, tmp_path, budget=0.0001).annotate(CLIPS))
        assert len(requests) == 1
        list(annotator(url, tmp_path, budget=1.0).annotate(CLIPS))
        assert len(requests) == 2


def test_requests_keep_to_the_rate(tmp_path: Path) -> None:
    with gemini(lambda _, request: truthful(request)) as (url, _):
        made = annotator(url, tmp_path)
        writer: Any = made.writer
        waits: list[float] = []
        writer.pause, writer.sleep = 30.0, waits.append
        list(made.annotate(CLIPS))
    assert len(waits) == 1
    assert 25.0 < waits[0] <= 30.0


def test_without_a_key_nothing_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY")
    with pytest.raises(Hand3DError, match="GEMINI_API_KEY"):
        list(annotator("http://127.0.0.1:9", tmp_path).annotate(CLIPS))


def test_a_service_that_is_not_there_rejects(tmp_path: Path) -> None:
    ((_, found),) = annotator("http://127.0.0.1:9", tmp_path, attempts=2).annotate(CLIPS[:1])
    assert isinstance(found, Rejection)
    assert "ConnectError" in str(found)
