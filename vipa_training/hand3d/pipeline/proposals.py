"""Where the boxes of objects come from: the source's annotation, or a detector that is told their names."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from vipa_training.hand3d.clip import Clip, Object
from vipa_training.hand3d.errors import Hand3DError, Rejection

TEXT_THRESHOLD = 0.25  # of a word, to belong to a label; that of the published tool
DETECTOR = "IDEA-Research/grounding-dino-tiny"
_WORD = re.compile(r"\w+")


class Proposals(Protocol):
    """Finds the objects of a clip.

    Attributes:
        name: whose they are.
    """

    name: str

    def found(self, clip: Clip, numbers: Sequence[int]) -> Clip:
        """The clip with its objects known at some frames.

        Raises:
            Rejection: they cannot be looked for.
        """
        ...


class Annotated:
    """What the source says."""

    name = "annotation"

    def found(self, clip: Clip, numbers: Sequence[int]) -> Clip:
        """The clip as it is."""
        return clip


class GroundingDino:
    """GroundingDINO by transformers: asked for the source's names of objects, or else for the clip's own words.

    Not run on hardware: with weights made by chance its interface is tested, not what it finds.

    Args:
        model: a folder, or a name known to transformers.
        threshold: of confidence.
        device: "cpu", "cuda", or empty for cuda where there is one.

    Raises:
        Hand3DError: it cannot be loaded.
    """

    name = "grounding-dino"

    def __init__(self, model: str = DETECTOR, threshold: float = 0.3, device: str = "") -> None:
        import torch
        from transformers import AutoProcessor, GroundingDinoForObjectDetection

        self.threshold = threshold
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._processor: Any = AutoProcessor.from_pretrained(model)
            loaded: Any = GroundingDinoForObjectDetection.from_pretrained(model)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise Hand3DError(f"grounding-dino: {model} cannot be loaded: {reason}") from None
        self._model: Any = loaded.to(self.device).eval()

    def found(self, clip: Clip, numbers: Sequence[int]) -> Clip:
        """The clip with the most likely box of each object at some frames, instead of what the source knows of them."""
        import torch

        names = [item.name for item in clip.objects] or [clip.text]
        if not any(names):
            raise Rejection("objects: neither the source nor its text names any")
        boxes = np.full((len(names), len(clip), 4), np.nan)
        prompt = ". ".join(name.lower() for name in names) + "."
        for number in numbers:
            picture = clip.frames.picture(number)
            inputs = self._processor(images=picture, text=prompt, return_tensors="pt").to(self.device)
            with torch.inference_mode():
                outputs = self._model(**inputs)
            answer = self._processor.post_process_grounded_object_detection(
                outputs,
                inputs["input_ids"],
                threshold=self.threshold,
                text_threshold=min(self.threshold, TEXT_THRESHOLD),
                target_sizes=[picture.shape[:2]],
            )[0]
            likely = answer["scores"].argsort(descending=True).tolist()
            for label, box in ((answer["text_labels"][i], answer["boxes"][i].cpu().numpy()) for i in likely):
                place = matching(str(label), names)
                if place is not None and np.isnan(boxes[place, number, 0]) and (box[2:] > box[:2]).all():
                    boxes[place, number] = box
        known = np.isfinite(boxes[..., 0])
        objects = [Object(name, known[i], boxes=boxes[i]) for i, name in enumerate(names) if known[i].any()]
        return replace(clip, objects=tuple(objects))


def matching(label: str, names: Sequence[str]) -> int | None:
    """Which of some names a detector's label means: that with which it shares the most words, if any."""
    words = set(_WORD.findall(label.lower()))
    shared = [len(words & set(_WORD.findall(name.lower()))) for name in names]
    best = int(np.argmax(shared))
    return best if shared[best] else None
