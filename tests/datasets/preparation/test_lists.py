"""lists.py: what is written is what read_list reads, under the names that recipes look for."""

import csv

import pytest

from slowfast.datasets.annotations import read_list
from slowfast.datasets.preparation.entries import Item, LeftOut
from slowfast.datasets.preparation.lists import (
    list_format,
    list_text,
    require_writable,
    unlistable,
    write_damaged,
    write_lists,
)

ITEMS = [Item("a b/1.mp4", 0, "train"), Item("c/2.mp4", 1, "train"), Item("c/3,4.mp4", 1, "val")]


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_lists_are_read_back_by_the_loader(tmp_path):
    left_out = [LeftOut("d.mp4", "not found (a.csv:4)", 1, "val")]
    write_lists(tmp_path, ITEMS, left_out, ["jump", "run"], list_format("k400", "videos"))
    table = read_list(tmp_path / "train.csv", num_classes=2)
    assert [(table.name(n), table.label(n)) for n in range(len(table))] == [("a b/1.mp4", 0), ("c/2.mp4", 1)]
    assert read_list(tmp_path / "val.csv", num_classes=2).name(0) == "c/3,4.mp4"
    assert (tmp_path / "test.csv").read_bytes() == (tmp_path / "val.csv").read_bytes()
    assert (tmp_path / "classes.txt").read_text() == "jump\nrun\n"
    assert rows(tmp_path / "missing.csv") == [["path", "reason"], ["d.mp4", "not found (a.csv:4)"]]
    assert rows(tmp_path / "counts.csv") == [
        ["label", "class", "train", "val", "test", "missing"],
        ["0", "jump", "1", "0", "0", "0"],
        ["1", "run", "1", "1", "1", "1"],
    ]


def test_damaged_videos_have_a_file_as_long_as_there_are_any(tmp_path):
    write_damaged(tmp_path, [("a, b.avi", "the header promises 4 frames, the file holds 2")])
    assert rows(tmp_path / "damaged.csv") == [
        ["path", "reason"],
        ["a, b.avi", "the header promises 4 frames, the file holds 2"],
    ]
    for _ in range(2):
        write_damaged(tmp_path, [])
        assert not (tmp_path / "damaged.csv").exists()


def test_test_videos_with_labels_are_listed_themselves(tmp_path):
    items = [*ITEMS, Item("t.mp4", 0, "test"), Item("u.mp4", 0, "unlabelled")]
    listed = write_lists(tmp_path, items, [], ["jump", "run"], list_format("k400", "videos"))
    assert [item.path for item in listed["test"]] == ["t.mp4"]
    assert (tmp_path / "unlabelled.csv").read_text() == "u.mp4,0\n"


def test_folders_without_a_test_split_get_no_test_list(tmp_path):
    write_lists(tmp_path, ITEMS, [], ["jump", "run"], list_format("folders", "videos"))
    assert not (tmp_path / "test.csv").exists()


@pytest.mark.parametrize(
    ("data_set", "kind", "train", "val", "test", "template"),
    [
        ("k600", "videos", "train.csv", "val.csv", "test.csv", ""),
        ("ucf101", "videos", "train.csv", "val.csv", "test.csv", ""),
        ("hmdb51", "frames", "train.txt", "val.txt", None, "{}.txt"),
        ("ssv1", "frames", "somesomev1_rgb_train_split.txt", "somesomev1_rgb_validation_split.txt", None,
         "somesomev1_rgb_{}_split.txt"),
        ("ssv2", "frames", "somesomev2_rgb_train_split.txt", "somesomev2_rgb_validation_split.txt", None,
         "somesomev2_rgb_{}_split.txt"),
        ("ssv2", "videos", "train.csv", "val.csv", "test.csv", ""),
    ],
)  # fmt: skip
def test_names_are_those_of_the_published_recipes(data_set, kind, train, val, test, template):
    form = list_format(data_set, kind)
    assert (form.names["train"], form.names["val"], form.names.get("test")) == (train, val, test)
    assert form.list_template == template


def test_lines_have_the_published_columns():
    assert (
        list_text([Item("Archery/v_Archery_g01_c01.avi", 2, "val")], " ")
        == "Archery/v_Archery_g01_c01.avi 2\n"
    )
    assert list_text([Item("78687", 41, "train", 120)], " ") == "78687 120 41\n"
    assert list_text([Item("a b/1", 0, "train", 7)], " ") == "a b/1\t7\t0\n"


def test_paths_that_would_not_come_back_are_named():
    odd = [Item(" a.mp4", 0, "train"), Item("b\nc.mp4", 0, "train"), Item("d\udcff.mp4", 0, "train")]
    reasons = {item.path: item.reason for item in unlistable([*odd, Item("e f.mp4", 0, "train")])}
    assert set(reasons) == {item.path for item in odd}
    assert "UTF-8" in reasons["d\udcff.mp4"] and "line break" in reasons["b\nc.mp4"]


def test_an_output_folder_that_cannot_be_written_is_told_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot write to the output folder .*file/lists"):
        require_writable(tmp_path / "file" / "lists")
