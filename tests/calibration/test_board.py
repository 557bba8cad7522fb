"""The board's sheets: true size, readable, and refused where they cannot be right."""

import re
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from calibration.board import PAPERS, BoardConfig, write_board
from calibration.detection import detect
from vipa.config import from_mapping
from vipa.errors import ConfigurationError


def pixels_of(pdf: bytes, scratch: Path) -> Any:
    """The image of a PDF in which it is stored as a fax (CCITT G4) with 1 for white, decoded as a TIFF."""
    assert re.search(rb"/K -1\s+/BlackIs1 true", pdf)
    assert b"/ColorSpace /DeviceGray" in pdf
    width, height, length = (
        int(re.search(rb"/%s (\d+)" % key, pdf)[1])  # type: ignore[index]
        for key in (b"Width", b"Height", b"Length")
    )
    start = pdf.index(b"stream\n") + 7
    tags = ((256, width), (257, height), (258, 1), (259, 4), (262, 1), (273, 122), (278, height), (279, length))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    scratch.write_bytes(head.ljust(122, b"\0") + pdf[start : start + length])
    return cv2.imread(str(scratch), cv2.IMREAD_GRAYSCALE)


@pytest.mark.parametrize(("paper", "points"), [("a4", (842, 595)), ("letter", (792, 612))])
def test_a_pdf_has_the_size_of_its_paper(tmp_path: Path, paper: str, points: tuple[int, int]) -> None:
    write_board(BoardConfig(), tmp_path / "board.pdf", paper)
    content = (tmp_path / "board.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    box = re.search(rb"/MediaBox \[ *0 0 ([\d.]+) ([\d.]+) *\]", content)
    assert box is not None
    assert [float(v) for v in box.groups()] == pytest.approx(points, abs=1.0)


def test_a_printed_board_has_true_size_and_is_found(tmp_path: Path) -> None:
    board = BoardConfig()
    write_board(board, tmp_path / "board.png")
    header = (tmp_path / "board.png").read_bytes()
    place = header.index(b"pHYs") + 4
    per_metre = int.from_bytes(header[place : place + 4], "big")
    sheet = cv2.imread(str(tmp_path / "board.png"), cv2.IMREAD_GRAYSCALE)
    assert sheet is not None
    write_board(board, tmp_path / "board.pdf")
    np.testing.assert_array_equal(pixels_of((tmp_path / "board.pdf").read_bytes(), tmp_path / "decoded.tiff"), sheet)
    assert np.array(sheet.shape[::-1]) / per_metre == pytest.approx(PAPERS["a4"], abs=1e-4)
    small = cv2.resize(sheet, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    found = detect(board, np.asarray(small, dtype=np.uint8), "sheet")
    assert len(found.points) == (board.columns - 1) * (board.rows - 1)
    # Pixels to metres by one scale: the print has the distances that the board says, to 0.05 mm.
    metres = found.pixels * 4.0 / per_metre
    np.testing.assert_allclose(metres - metres[0], (found.points - found.points[0])[:, :2], atol=5e-5)
    below = sheet[-round(0.011 * per_metre) :]
    assert (below == 0).any()  # the caption


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"square_length": 35.0}, r"square_length: 35 m is not between .* millimetres\? write 0.035"),
        ({"marker_length": 26.0}, "marker_length: 26 m .* write 0.026"),
        ({"marker_length": 0.034}, "marker_length: 0.034 m must be"),
        ({"columns": 2}, "too small"),
        ({"columns": 14, "rows": 9}, "4X4_50 has 50 markers, too few"),
        ({"dictionary": "7X7"}, "dictionary: '7X7' is not one of"),
        ({"squares": 7}, "unknown key board.squares"),
    ],
)
def test_wrong_boards_are_refused_by_key(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        from_mapping(BoardConfig, values, "board")


@pytest.mark.parametrize(
    ("board", "name", "paper", "message"),
    [
        (BoardConfig(columns=9), "b.pdf", "a4", "needs 325 x 197 mm, .* a4 has 297 x 210 mm"),
        (BoardConfig(), "b.pdf", "a7", "unknown paper a7; known: a4"),
        (BoardConfig(), "b.svg", "a4", r"must end with \.pdf or \.png"),
    ],
)
def test_sheets_that_cannot_be_made(tmp_path: Path, board: BoardConfig, name: str, paper: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        write_board(board, tmp_path / name, paper)
    assert list(tmp_path.iterdir()) == []
