"""Figures 8 and 9 of the paper as PNG files: two histograms, and motions drawn over the pictures."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vipa_training.evaluation.hand3d.table import Row
from vipa_training.hand3d.errors import Hand3DError
from vipa_training.hand3d.frames import Image
from vipa_training.hand3d.geometry import projected

Array = NDArray[np.float64]
Colour = tuple[int, int, int]
COLOURS: tuple[Colour, ...] = ((150, 150, 150), (41, 128, 185), (39, 174, 96), (192, 57, 43))
PREDICTED: Colour = (40, 90, 255)
TRUE: Colour = (230, 40, 40)
PANEL = (380, 520)  # height and width, px
MARGIN = 52
SHOWN = 4  # times larger than the picture that the motions are drawn over
ERROR_EDGES = np.array([0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, np.inf])  # m


def draw_histograms(rows: Sequence[Row], file: Path) -> None:
    """Shares of the answers by score of direction (left) and by error of distance (right), a bar for each row.

    Raises:
        Hand3DError: the file cannot be written.
    """
    scores = [np.array([(row.scores == score).mean() for score in range(4)]) for row in rows]
    errors = [np.histogram(row.errors, ERROR_EDGES)[0] / len(row.errors) for row in rows]
    edges = [f"{100 * edge:.0f}" for edge in ERROR_EDGES[:-1]]
    names = [f"{low}-{high}" for low, high in zip(edges, [*edges[1:], ""], strict=True)]
    labels = [row.label for row in rows]
    left = _bars("direction score", [str(score) for score in range(4)], scores, labels)
    right = _bars("distance error, cm", names, errors, labels)
    _write(file, np.concatenate([left, right], axis=1))


def draw_tracks(
    pictures: Sequence[Image],
    intrinsics: Sequence[Array],
    predicted: Sequence[Array],
    true: Sequence[Array],
    file: Path,
    columns: int = 4,
) -> None:
    """Motions over the pictures at their begin: predicted in blue, true in red; a dot is where they begin.

    Args:
        pictures: (H, W, 3) RGB, all of one size.
        intrinsics: (3, 3) px each.
        predicted: (N, 3) m each, in the camera's frame.
        true: likewise.
        file: PNG.
        columns: pictures in a row.

    Raises:
        Hand3DError: the file cannot be written.
    """
    tiles: list[Image] = []
    for picture, matrix, found, wanted in zip(pictures, intrinsics, predicted, true, strict=True):
        tile = cv2.resize(picture, None, fx=SHOWN, fy=SHOWN, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
        for track, colour in ((wanted, TRUE), (found, PREDICTED)):
            pixels = projected(track, matrix)
            places = np.round((pixels[np.isfinite(pixels).all(axis=1)] + 0.5) * SHOWN).astype(np.int32)
            if len(places):
                cv2.polylines(tile, [places.reshape(-1, 1, 2)], False, colour, 2, cv2.LINE_AA)
                cv2.circle(tile, (int(places[0, 0]), int(places[0, 1])), 5, colour, -1, cv2.LINE_AA)
        tiles.append(tile)
    if not tiles:
        raise Hand3DError(f"{file}: no motion to draw")
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % columns)
    lines = [np.concatenate(tiles[k : k + columns], axis=1) for k in range(0, len(tiles), columns)]
    _write(file, np.concatenate(lines))


def _bars(title: str, names: Sequence[str], values: Sequence[Array], labels: Sequence[str]) -> Image:
    height, width = PANEL
    image = np.full((height, width, 3), 255, np.uint8)
    inner_width, inner_height = width - 2 * MARGIN, height - 2 * MARGIN
    top = max(float(np.max(value)) for value in values) or 1.0
    slot = inner_width / len(names)
    bar = 0.8 * slot / len(values)
    for k, name in enumerate(names):
        for row, value in enumerate(values):
            left = round(MARGIN + k * slot + 0.1 * slot + row * bar)
            high = round(height - MARGIN - inner_height * float(value[k]) / top)
            colour = COLOURS[row % len(COLOURS)]
            cv2.rectangle(image, (left, high), (round(left + bar) - 1, height - MARGIN), colour, -1)
        _text(image, name, (round(MARGIN + (k + 0.5) * slot), height - MARGIN + 18), centred=True)
    cv2.line(image, (MARGIN, height - MARGIN), (width - MARGIN, height - MARGIN), (0, 0, 0), 1)
    for share in (0.0, 0.5, 1.0):
        _text(image, f"{100 * share * top:.0f} %", (4, round(height - MARGIN - share * inner_height) + 4))
    _text(image, title, (width // 2, height - 12), centred=True)
    for row, label in enumerate(labels):
        place = MARGIN + 14 * row
        cv2.rectangle(image, (width - 190, place - 9), (width - 180, place + 1), COLOURS[row % len(COLOURS)], -1)
        _text(image, label, (width - 174, place))
    return image


def _text(image: Image, text: str, place: tuple[int, int], centred: bool = False) -> None:
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.4
    if centred:
        (wide, _), _ = cv2.getTextSize(text, font, size, 1)
        place = place[0] - wide // 2, place[1]
    cv2.putText(image, text, place, font, size, (0, 0, 0), 1, cv2.LINE_AA)


def _write(file: Path, image: Image) -> None:
    written, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    try:
        if not written:
            raise OSError(0, "the picture cannot be encoded")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data.tobytes())
    except OSError as error:
        raise Hand3DError(f"{file}: cannot be written: {error.strerror}") from None
