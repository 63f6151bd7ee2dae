"""Recipes and KEY VALUE pairs, and what is said about broken ones."""

import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slowfast.config import ConfigError
from slowfast.config.sources import Entry, read_pairs, read_recipe


def write(folder, text, name="recipe.yaml"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_recipe_becomes_entries_with_file_and_line(tmp_path):
    path = write(
        tmp_path, "NUM_GPUS: 8\nSOLVER:\n  # a comment\n  BASE_LR: 1e-6\n  STEPS: [0, 4.5]\nTRAIN:\n"
    )
    assert read_recipe(path) == [
        Entry("NUM_GPUS", "8", f"{path}:1"),
        Entry("SOLVER.BASE_LR", "1e-6", f"{path}:4"),
        Entry("SOLVER.STEPS", ["0", "4.5"], f"{path}:5"),
        Entry("TRAIN", None, f"{path}:6"),
    ]


def test_a_byte_order_mark_and_windows_lines_do_no_harm(tmp_path):
    path = write(tmp_path, b"\xef\xbb\xbfNUM_GPUS: 8\r\nTEST:\r\n  ENABLE: off\r\n")
    assert [(entry.key, entry.value) for entry in read_recipe(path)] == [
        ("NUM_GPUS", "8"),
        ("TEST.ENABLE", "off"),
    ]


def test_every_key_that_stands_twice_is_named_with_both_lines(tmp_path):
    path = write(tmp_path, "TRAIN:\n  BATCH_SIZE: 4\n  BATCH_SIZE: 8\nNUM_GPUS: 1\nTRAIN:\n  ENABLE: True\n")
    with pytest.raises(ConfigError) as caught:
        read_recipe(path)
    assert caught.value.problems == [
        f"{path}:3: TRAIN.BATCH_SIZE stands here again, it is already given on line 2",
        f"{path}:5: TRAIN stands here again, it is already given on line 1",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("- a\n- b\n", "must hold sections"),
        ("just words\n", "must hold sections"),
        ("TRAIN:\n  ENABLE: [True\nTEST: 1\n", ":3: not valid YAML"),
        ("TRAIN:\n\tENABLE: True\n", ":2: not valid YAML"),
        (b"\xff\xfe\x00broken", "not a text file in UTF-8"),
        ("TRAIN: " + "[" * 5000, "brackets are nested too deep"),
        ("TRAIN: &a {B: *a}\n", "an alias (*name) stands in what it repeats"),
        ("TRAIN: &a [*a]\n", "an alias (*name) stands in what it repeats"),
        (
            "T0: &t0 {A: 1, B: 2}\n"
            + "".join(f"T{n}: &t{n} {{A: *t{n - 1}, B: *t{n - 1}}}\n" for n in range(1, 60)),
            "repeats too much; write values out",
        ),
        ('TRAIN: "\\UFFFFFFFF"\n', "not valid YAML"),
        ("%YAML " + "9" * 5000 + ".1\n---\nTRAIN:\n", "not valid YAML"),
        ("? [TRAIN]\n: 1\n", ":1: a list or a section stands where a key such as TRAIN is expected"),
        ('TRAIN:\n  "A\\nB": 1\n', r":2: 'A\nB' stands where a key such as TRAIN is expected"),
    ],
)
def test_what_is_no_recipe_is_refused_by_name(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value) and said in str(caught.value)


def test_aliases_repeat_values(tmp_path):
    path = write(tmp_path, "DATA:\n  MEAN: &m [0.5, 0.5, 0.5]\n  STD: *m\n")
    assert [entry.value for entry in read_recipe(path)] == [["0.5"] * 3] * 2


PARTS = (
    "TRAIN", ": ", "\n", "\n  ", "- ", "[", "]", "{", "}", "&a ", "*a", "? ", "| ", '"', "\\x00", "!!set ", "#", "%",
)  # fmt: skip


@settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.one_of(st.sampled_from(PARTS), st.text(max_size=3)), max_size=30).map("".join))
def test_any_recipe_is_read_or_refused_in_lines(tmp_path, text):
    path = write(tmp_path, text.encode("utf-8", "surrogatepass"))
    try:
        entries = read_recipe(path)
    except ConfigError as error:
        assert all(len(problem.splitlines()) == 1 and str(path) in problem for problem in error.problems)
        return
    assert all(entry.key and entry.where.startswith(f"{path}:") for entry in entries)


def test_a_missing_recipe_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.yaml does not exist"):
        read_recipe(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        read_recipe(tmp_path)


def test_pairs_keep_values_as_given():
    entries, notes = read_pairs(["NUM_GPUS", "0", "DATA.MEAN", [0.5, 0.5, 0.5]])
    assert [(entry.key, entry.value) for entry in entries] == [
        ("NUM_GPUS", "0"),
        ("DATA.MEAN", [0.5, 0.5, 0.5]),
    ]
    assert notes == []


def test_the_last_of_equal_pairs_counts_and_that_is_said():
    entries, notes = read_pairs(["NUM_GPUS", "8", "NUM_GPUS", "0"])
    assert [entry.value for entry in entries] == ["0"]
    assert notes == ["NUM_GPUS is given twice on the command line; the last one, 0, counts"]


@pytest.mark.parametrize("pairs", [["NUM_GPUS"], "NUM_GPUS 0", ["NUM_GPUS", "0", "TEST.ENABLE"]])
def test_a_key_without_a_value_is_refused(pairs):
    with pytest.raises(ConfigError, match="pairs KEY VALUE.*NUM_GPUS"):
        read_pairs(pairs)


def test_a_value_where_a_key_belongs_is_refused():
    with pytest.raises(ConfigError, match="'-1' stands where a key"):
        read_pairs(["-1", "NUM_GPUS"])


def test_an_error_keeps_its_lines_across_processes():
    one, two = ConfigError(["a"]), ConfigError(["a", "b"])
    assert str(one) == "a"
    assert str(two) == "2 problems in the configuration:\n  - a\n  - b"
    assert pickle.loads(pickle.dumps(two)).problems == ["a", "b"]
