"""Lines that survive a crash, and files that are there as a whole or not at all."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vipa.errors import VipaError
from vipa.trials.journal import Journal, Lines, write_durably

LINES = ('{"a": 1}', '{"b": "größer"}', '{"c": null}')


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.integers(0, 60))
def test_what_a_crash_left_is_told_and_mended(tmp_path, cut):
    path = tmp_path / "lines"
    whole = "".join(line + "\n" for line in LINES).encode()
    path.write_bytes(whole[: len(whole) - cut])
    journal = Journal(path, "lines")
    found = journal.read()
    assert [line for _, line in found.whole] == list(LINES[: len(found.whole)])
    left = whole[: len(whole) - cut].split(b"\n")
    complete = len(left) - 1
    assert len(found.whole) in (complete, complete + 1)
    if len(found.whole) == complete:
        assert found.torn == left[-1].decode(errors="replace")
    else:
        assert (found.torn, left[-1].decode()) == ("", LINES[complete])
    journal.append('{"d": 4}')
    assert journal.read().whole[-1][1] == '{"d": 4}'
    assert journal.read().torn == ""
    assert [line for _, line in journal.read().whole[:-1]] == [line for _, line in found.whole]


def test_no_file_has_no_lines(tmp_path):
    assert Journal(tmp_path / "none", "lines").read() == Lines(())


def test_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "lines").write_bytes(b'{"a": 1}\n\xff\xfe\n')
    with pytest.raises(VipaError, match=r"lines .*lines, line 2: .*Correct or remove the line"):
        Journal(tmp_path / "lines", "lines").read()


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "new" / "report.md"
    write_durably(path, "first")
    write_durably(path, "second")
    assert path.read_text() == "second"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VipaError, match=r"report\.md: cannot be written: File exists"):
        write_durably(tmp_path / "file" / "report.md", "text")
