"""A CSV file that only grows: what is on the disk counts, half rows do not, other files are left alone."""

import pytest

from slowfast.utils.appended_table import AppendedTable

COLUMNS = ("path", "reason")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "bad.csv"


def test_rows_are_there_for_the_next_process(path):
    assert AppendedTable(path, COLUMNS).rows == [] and not path.exists()
    AppendedTable(path, COLUMNS).append("a,b.mp4", 'says "no"')
    table = AppendedTable(path, COLUMNS)
    table.append("Bj\u00f6rk\udce9.mp4", "two\nlines")
    expected = [("a,b.mp4", 'says "no"'), ("Bj\u00f6rk\udce9.mp4", "two lines")]
    assert AppendedTable(path, COLUMNS).rows == expected
    assert path.read_bytes().startswith(b'path,reason\n"a,b.mp4","says ""no"""\n')


@pytest.mark.parametrize("kept", [0, 4, 12, 14, 20])
def test_half_a_row_is_none_and_makes_room_for_the_next(path, kept):
    AppendedTable(path, COLUMNS).append("a.mp4", "empty file")
    path.write_bytes(path.read_bytes()[:kept])
    table = AppendedTable(path, COLUMNS)
    assert table.rows == []
    table.append("b.mp4", "no such file")
    assert path.read_bytes() == b"path,reason\nb.mp4,no such file\n"


def test_a_file_of_something_else_is_refused_and_kept(path):
    path.parent.mkdir()
    path.write_text("video;why\n")
    with pytest.raises(ValueError, match=r"bad.csv: its first line is not 'path,reason'.*another OUTPUT_DIR"):
        AppendedTable(path, COLUMNS)
    assert path.read_text() == "video;why\n"


def test_what_cannot_be_written_is_named(path):
    table = AppendedTable(path, COLUMNS)
    path.parent.write_text("in the way")
    with pytest.raises(OSError, match=r"cannot write .*bad.csv"):
        table.append("a.mp4", "empty file")
    assert table.rows == []
