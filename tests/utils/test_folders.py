"""A folder is made, or what is in its way is named."""

import pytest

from slowfast.utils.folders import make_folder


def test_a_folder_is_made_with_those_above_it_and_may_be_there(tmp_path):
    for _ in range(2):
        assert make_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("below", ["", "run", "run/1"])
def test_a_file_in_the_way_is_named(tmp_path, below):
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    with pytest.raises(NotADirectoryError, match=rf"OUTPUT_DIR\): {file} is a file; name another folder"):
        make_folder(file / below)
    assert file.read_text() == "mine"
