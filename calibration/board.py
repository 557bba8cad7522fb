"""The ChArUco board: its description, and sheets to print at true size."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from vipa.errors import ConfigurationError

Dictionary = Literal["4X4_50", "4X4_100", "5X5_50", "5X5_100", "5X5_250", "6X6_250"]
PAPERS = {"a4": (0.297, 0.210), "a3": (0.420, 0.297), "letter": (0.2794, 0.2159), "tabloid": (0.4318, 0.2794)}
PRINT_MARGIN = 0.005  # m that printers leave white
CAPTION_HEIGHT = 0.006  # m
PRINT_PITCH = 0.0254 / 600  # m per pixel, about
_GREY, _WHITE = 128, 255


@dataclass(frozen=True)
class BoardConfig:
    """A ChArUco board: a chessboard with a marker in every white square.

    Its frame has the origin at the outer corner of the first square, x along the columns, y along the rows, z into the
    board; a camera that looks at the print sees x to the right and y down.
    """

    columns: int = 7  # squares along x
    rows: int = 5  # squares along y
    square_length: float = 0.035  # m, as measured on the print
    marker_length: float = 0.026  # m
    dictionary: Dictionary = "4X4_50"

    def __post_init__(self) -> None:
        if min(self.columns, self.rows) < 3:
            raise ValueError(f"columns, rows: a board of {self.columns} by {self.rows} is too small; at least 3 by 3")
        for name, length in (("square_length", self.square_length), ("marker_length", self.marker_length)):
            if not 0.002 <= length <= 0.5:
                hint = f"; millimetres? write {length / 1e3:g}" if 2.0 <= length <= 500.0 else ""
                raise ValueError(f"{name}: {length:g} m is not between 0.002 and 0.5{hint}")
        if not 0.4 * self.square_length <= self.marker_length <= 0.9 * self.square_length:
            raise ValueError(f"marker_length: {self.marker_length:g} m must be 0.4 to 0.9 of square_length")
        room = int(self.dictionary.partition("_")[2])
        if self.columns * self.rows // 2 > room:
            raise ValueError(f"dictionary: {self.dictionary} has {room} markers, too few for the board")

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the board, m."""
        return self.columns * self.square_length, self.rows * self.square_length

    @property
    def corners(self) -> NDArray[np.float64]:
        """The inner corners (N, 3) in the board's frame, m, by their number."""
        return np.asarray(self.opencv().getChessboardCorners(), dtype=np.float64)

    def opencv(self) -> "cv2.aruco.CharucoBoard":
        """The board in terms of OpenCV."""
        dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_{self.dictionary}"))
        return cv2.aruco.CharucoBoard((self.columns, self.rows), self.square_length, self.marker_length, dictionary)

    def texture(self, pixels_per_square: int) -> NDArray[np.uint8]:
        """The board without a margin, (rows * pixels_per_square, columns * pixels_per_square) grey."""
        size = self.columns * pixels_per_square, self.rows * pixels_per_square
        return np.asarray(self.opencv().generateImage(size, marginSize=0), dtype=np.uint8)

    def caption(self) -> str:
        """What is printed below the board."""
        width, height = (1e3 * length for length in self.size)
        return (
            f"ChArUco {self.columns} x {self.rows}, {self.dictionary}, square {1e3 * self.square_length:g} mm, marker "
            f"{1e3 * self.marker_length:g} mm. Print at 100 %: the board must measure {width:g} x {height:g} mm."
        )


def write_board(board: BoardConfig, path: Path, paper: str = "a4") -> None:
    """Write a sheet with the board at true size, as PDF or PNG by the name's ending.

    Raises:
        ConfigurationError: an unknown paper or ending, the board does not fit the paper, the file cannot be written,
            or Pillow is not installed.
    """
    if path.suffix.lower() not in (".pdf", ".png"):
        raise ConfigurationError(f"board {path}: the name must end with .pdf or .png")
    pixels = max(round(board.square_length / PRINT_PITCH), 1)
    pitch = board.square_length / pixels  # so that every square has the same whole number of pixels
    sheet = _sheet(board, pixels, pitch, paper)
    try:
        image: Any = importlib.import_module("PIL.Image")
    except ModuleNotFoundError:
        raise ConfigurationError("board: Pillow is not installed; run: pip install .[calibration]") from None
    per_inch = 0.0254 / pitch
    options = {"resolution": per_inch} if path.suffix.lower() == ".pdf" else {"dpi": (per_inch, per_inch)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(sheet > _GREY).save(path, **options)
    except OSError as error:
        raise ConfigurationError(f"board {path}: cannot be written: {error.strerror or error}") from None


def _sheet(board: BoardConfig, pixels: int, pitch: float, paper: str) -> NDArray[np.uint8]:
    """The sheet in grey, with the board in its middle and the caption below."""
    if paper not in PAPERS:
        raise ConfigurationError(f"board: unknown paper {paper}; known: {', '.join(PAPERS)}")
    (width, height), (needed_width, needed_height) = PAPERS[paper], board.size
    needed_width, needed_height = needed_width + 2 * PRINT_MARGIN, needed_height + 2 * (PRINT_MARGIN + CAPTION_HEIGHT)
    if needed_width > width or needed_height > height:
        raise ConfigurationError(
            f"board: needs {1e3 * needed_width:g} x {1e3 * needed_height:g} mm, margin and caption included; {paper} "
            f"has {1e3 * width:g} x {1e3 * height:g} mm. Take a larger --paper, or smaller or fewer squares"
        )
    texture = board.texture(pixels)
    sheet = np.full((round(height / pitch), round(width / pitch)), _WHITE, dtype=np.uint8)
    top, left = (sheet.shape[0] - texture.shape[0]) // 2, (sheet.shape[1] - texture.shape[1]) // 2
    sheet[top : top + texture.shape[0], left : left + texture.shape[1]] = texture
    letter = 0.45 * CAPTION_HEIGHT / pitch
    room = (sheet.shape[1] - 2 * PRINT_MARGIN / pitch) / len(board.caption())  # for one letter
    scale = min(letter / 22.0, room / 19.0)  # Hershey letters are 22 px high, about 19 px wide
    place = round(PRINT_MARGIN / pitch), sheet.shape[0] - round((PRINT_MARGIN + 0.2 * CAPTION_HEIGHT) / pitch)
    cv2.putText(sheet, board.caption(), place, cv2.FONT_HERSHEY_SIMPLEX, scale, 0, max(round(2.0 * scale), 1))
    return sheet
