import os

import pytest
import torch
import torch.multiprocessing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slowfast.datasets import annotations
from slowfast.datasets.annotations import (
    VideoTable,
    check_class_names,
    find_class_names,
    lists_frame_folders,
    read_class_names,
    read_list,
)


@pytest.fixture
def write(tmp_path):
    def to_file(content: str | bytes, name: str = "train.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to_file


def rows(table: VideoTable) -> list[tuple]:
    return [(table.name(index), table.label(index)) for index in range(len(table))]


@pytest.mark.parametrize("separator", [",", "\t", " "])
@pytest.mark.parametrize("given", [True, False], ids=["named", "found out"])
def test_separators(write, separator, given):
    path = write(f"a/1.mp4{separator}0\nb/2.mp4{separator}11\n")
    table = read_list(path, separator=separator if given else "", num_classes=12)
    assert rows(table) == [("a/1.mp4", 0), ("b/2.mp4", 11)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("my clip, take 2.mp4 3\nb.mp4 4\n", [("my clip, take 2.mp4", 3), ("b.mp4", 4)]),
        ("my clip, take 2.mp4,3\nb.mp4,4", [("my clip, take 2.mp4", 3), ("b.mp4", 4)]),
        ("my clip 2.mp4\t3\n", [("my clip 2.mp4", 3)]),
        ("a.mp4 , 3 \r\n\tb.mp4 ,4\r\n", [("a.mp4", 3), ("b.mp4", 4)]),
        ("\ufeffa.mp4 1\n\n   \nb.mp4 2\n\n", [("a.mp4", 1), ("b.mp4", 2)]),
        ("vidéo/日本.mp4 1\n", [("vidéo/日本.mp4", 1)]),
        ('"a.mp4",1\n', [('"a.mp4"', 1)]),
        ("a.mp4 007\n", [("a.mp4", 7)]),
    ],
    ids=[
        "commas and spaces",
        "spaces and commas",
        "tab",
        "white space",
        "blank lines",
        "UTF-8",
        "quotes",
        "zeros",
    ],
)
def test_odd_but_sound_lists(write, content, expected):
    assert rows(read_list(write(content), num_classes=10)) == expected


def test_another_separator_than_the_usual_ones(write):
    assert rows(read_list(write("a b.mp4|3\n"), separator="|", num_classes=4)) == [("a b.mp4", 3)]


def test_prefix_is_joined_and_absolute_paths_override_it(write):
    table = read_list(write("a.mp4 0\n/else/b.mp4 1\n"), num_classes=2, prefix="/media/k400")
    assert [table.path(index) for index in range(2)] == ["/media/k400/a.mp4", "/else/b.mp4"]
    assert read_list(write("a.mp4 0\n"), num_classes=2).path(0) == "a.mp4"


def test_several_labels(write):
    table = read_list(write("a.mp4,3;17;42\nb c.mp4,5\nd.mp4,1;1;0\n"), num_classes=43, multi_label=True)
    assert rows(table) == [("a.mp4", [3, 17, 42]), ("b c.mp4", [5]), ("d.mp4", [1, 0])]


@pytest.mark.parametrize(
    ("content", "options", "line", "message"),
    [
        (
            "path,label\na.mp4,1\n",
            {},
            1,
            "label 'label' is not a whole number; if this is a header, remove it",
        ),
        ("a.mp4,1\nb.mp4,x\n", {}, 2, "label 'x' is not a whole number$"),
        ("a.mp4,1\n\nb.mp4,10\n", {}, 3, r"label 10 is outside 0..9 \(MODEL.NUM_CLASSES is 10\)"),
        ("a.mp4,1\nb.mp4,-1\n", {}, 2, "label -1 is outside 0..9"),
        ("a.mp4,1\nb.mp4,1.0\n", {}, 2, "label '1.0' is not a whole number"),
        ("a.mp4,1\nb.mp4,1_0\n", {}, 2, "label '1_0' is not a whole number"),
        ("a.mp4,1\nb.mp4,\n", {}, 2, "no label after the last comma"),
        ("a.mp4,1\n,1\n", {}, 2, "no path before the comma in ',1'"),
        ("a.mp4\nb.mp4\n", {}, 1, "no label in 'a.mp4'"),
        (
            "a.mp4,1\n",
            {"separator": " "},
            1,
            "no space between path and label in 'a.mp4,1', which uses comma",
        ),
        (
            "a.mp4 1\n",
            {"separator": ","},
            1,
            "which uses space; use one separator .* DATA.PATH_LABEL_SEPARATOR",
        ),
        (
            "a.mp4,1\nc.mp4,1\nb.mp4 2\n",
            {},
            3,
            "no comma between path and label in 'b.mp4 2', which uses space",
        ),
        ("a.mp4,3;4\n", {}, 1, "several labels '3;4'; set DATA.MULTI_LABEL True"),
        ("a.mp4,3;10\n", {"multi_label": True}, 1, "label 10 is outside 0..9"),
        ("a.mp4,3;\n", {"multi_label": True}, 1, "label '3;' is not a whole number"),
        (b"a.mp4,1\nm\xfcde.mp4,1\n", {}, 2, r"the path b'm\\xfcde.mp4' is not UTF-8; save"),
        ("a.mp4,1\n".encode("utf-16"), {}, 1, "the file is UTF-16; save it as UTF-8"),
        (b"a.mp4,1\rb.mp4,2\r", {}, 1, "a carriage return in a line; save the list with LF or CRLF ends"),
        ("a.mp4,1\nb.mp4," + "9" * 5000, {}, 2, r"label 9{200}\.\.\. is outside 0..9"),
        ("a.mp4,1;" + "9" * 5000, {"multi_label": True}, 1, r"label 9{200}\.\.\. is outside 0..9"),
        ("a.mp4,-" + "9" * 5000, {}, 1, r"label -9{199}\.\.\. is outside 0..9"),
        ("a" * 5000 + "\n", {}, 1, r"no label in 'a{200}\.\.\.'; a line is"),
    ],
)
def test_refusals_name_file_and_line(write, content, options, line, message):
    path = write(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_list(path, num_classes=10, **options)
    assert str(caught.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize("content", ["", "\n  \n\r\n", "\ufeff"])
def test_an_empty_list_is_refused(write, content):
    path = write(content)
    with pytest.raises(ValueError, match="no videos in this list") as caught:
        read_list(path, num_classes=10)
    assert str(path) in str(caught.value)


# Lists of frame folders -----
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a/b 54 0\nc 7 3\n", [("a/b", 54, 0), ("c", 7, 3)]),
        ("a b\t54\t0\n", [("a b", 54, 0)]),
        ("a,54,0\nb, c , 7 , 3\n", [("a", 54, 0), ("b, c", 7, 3)]),
        ("a video 12 54 0\n", [("a video 12", 54, 0)]),
        ("\ufeffa 54 0\r\n\r\nb  7   3\r\n", [("a", 54, 0), ("b", 7, 3)]),
        ("vidéo {1} 9 2\n", [("vidéo {1}", 9, 2)]),
    ],
    ids=["spaces", "tabs", "commas", "space in folder", "BOM, CRLF, blank line", "UTF-8 and braces"],
)
def test_frame_folders(write, content, expected):
    path = write(content)
    assert lists_frame_folders(path)
    table = read_list(path, num_classes=10, frame_folders=True)
    assert [(table.name(n), table.num_frames(n), table.label(n)) for n in range(len(table))] == expected
    assert table.frame_counts.dtype == torch.int32


def test_frame_folders_with_several_labels(write):
    table = read_list(write("a 54 1;3\n"), num_classes=5, frame_folders=True, multi_label=True)
    assert (table.name(0), table.num_frames(0), table.label(0)) == ("a", 54, [1, 3])


@pytest.mark.parametrize("content", ["a.mp4 0\nb 2.mp4 1\n", "a.mp4,0\n", "12 0\n34 0\n", "a\tb\t1\n"])
def test_lists_of_video_files_are_told_from_those_of_frame_folders(write, content):
    assert not lists_frame_folders(write(content))
    assert read_list(write(content), num_classes=2).frame_counts is None


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("folder num_frames label\na 5 0\n", 1, "is not a video; if this is a header, remove it"),
        (
            "a 5 0\nb.mp4 0\n",
            2,
            "two columns in 'b.mp4 0', but in a list of frame folders a line is: folder, ",
        ),
        ("a 5 0\nb 0\n", 2, "two columns in 'b 0'.*belongs to another data set: kinetics"),
        ("a 5 0\nb\n", 2, "no number of frames before the label in 'b'"),
        ("a 5 0\n\nb 0 0\n", 3, "0 frames; a folder of frames has 1 to"),
        ("a 99999999999 0\n", 1, "99999999999 frames; a folder of frames has 1 to 2147483647"),
        (
            "a 5 0\nb " + "9" * 5000 + " 0\n",
            2,
            r"9{200}\.\.\. frames; a folder of frames has 1 to 2147483647",
        ),
        ("a 5 0\nb -3 0\n", 2, "two columns|no number of frames"),
        ("a 5 0\nb 5 10\n", 2, "label 10 is outside 0..9 .*is this the list of another data set"),
        ("a 5 0\nb 5 x\n", 2, "label 'x' is not a whole number"),
    ],
)
def test_wrong_lines_of_frame_folders(write, content, line, message):
    path = write(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_list(path, num_classes=10, frame_folders=True)
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_an_empty_list_of_frame_folders(write):
    with pytest.raises(
        ValueError, match="no videos in this list; each line is: folder, number of frames, label"
    ):
        read_list(write("\n"), num_classes=2, frame_folders=True)


def test_a_list_that_is_not_there_or_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"test\.csv: no such file"):
        read_list(tmp_path / "test.csv", num_classes=10)
    with pytest.raises(ValueError, match="a folder; give the file"):
        read_list(tmp_path, num_classes=10)


def test_indices_outside_the_list(write):
    table = read_list(write("a.mp4 0\nb.mp4 1\n"), num_classes=2)
    for index in (-1, 2):
        for read in (table.name, table.path, table.label):
            with pytest.raises(IndexError, match=f"video {index} of a list of 2"):
                read(index)


@pytest.fixture
def long_list(write):
    names = (
        f"val_videos/playing_an_instrument_{n % 600}/abcdefghijk_{n:06d}_{n:06d}.mp4" for n in range(250_000)
    )
    return write("".join(f"{name},{number % 600}\r\n" for number, name in enumerate(names)))


def test_a_long_list_is_small(long_list):
    table = read_list(long_list, num_classes=600)
    assert len(table) == 250_000
    assert table.name(249_999) == "val_videos/playing_an_instrument_399/abcdefghijk_249999_249999.mp4"
    assert table.label(249_999) == 399
    tensors = [value for value in vars(table).values() if isinstance(value, torch.Tensor)]
    assert sum(tensor.untyped_storage().nbytes() for tensor in tensors) < 60e6
    assert all(isinstance(value, (torch.Tensor, str, type(None))) for value in vars(table).values())


def _mark(table: VideoTable, names) -> None:
    names.put((table.name(1), table.label(1), table.path_bytes.is_shared()))
    table.path_bytes[0] = ord("X")


def test_spawned_workers_share_the_table(write):
    """What a worker writes is seen here: there is one copy of the list."""
    table = read_list(write("a.mp4 0\nb.mp4 1\n"), num_classes=2)
    context = torch.multiprocessing.get_context("spawn")
    names = context.SimpleQueue()
    worker = context.Process(target=_mark, args=(table, names))
    worker.start()
    worker.join()
    assert names.get() == ("b.mp4", 1, True)
    assert table.name(0) == "X.mp4"


def _private_kilobytes() -> int:
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="needs /proc")
def test_forked_workers_do_not_copy_the_table(long_list):
    table = read_list(long_list, num_classes=600)
    reader, writer = os.pipe()
    worker = os.fork()
    if worker == 0:
        try:
            before = _private_kilobytes()
            for index in range(0, len(table), 50):  # touches every page
                table.name(index)
                table.label(index)
            os.write(writer, str(_private_kilobytes() - before).encode())
        finally:
            os._exit(0)
    os.waitpid(worker, 0)
    assert int(os.read(reader, 100)) * 1024 < table.path_bytes.nbytes / 4
    os.close(reader)
    os.close(writer)


# ---- class names


def test_class_names_one_a_line(write):
    path = write("\ufeffriding a bike\r\nmarching, in step\r\n dodgeball \r\n\r\n", "classes.txt")
    assert read_class_names(path) == ["riding a bike", "marching, in step", "dodgeball"]


def test_class_names_from_json(write):
    assert read_class_names(write('{"b": 1, "a": "0", "c": 2}', "names.json")) == ["a", "b", "c"]
    assert read_class_names(write(r'{"\ud83d\ude00": 0}', "names.json")) == ["\U0001f600"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("classes.txt", "a\n\nb\n", r"classes.txt:2: blank line"),
        ("classes.txt", "\n", "no class names"),
        ("classes.txt", b"caf\xe9\n", "not UTF-8"),
        ("names.json", '{"a": 0,\n "b" 1}', r"names.json:2: not valid JSON"),
        ("names.json", '["a", "b"]', 'written as {"name": number, ...}'),
        ("names.json", "{}", 'written as {"name": number, ...}'),
        ("names.json", '{"a": 0, "b": 2}', r"2 names need the numbers 0..1, each once"),
        ("names.json", '{"a": 0, "b": 0}', r"2 names need the numbers 0..1, each once"),
        ("names.json", '{"a": 0.5}', "must be a whole number"),
        ("names.json", '{"a": ' + "9" * 5000 + "}", "names.json: no class names: a number is too long"),
        ("names.json", "[" * 100_000, "names.json: no class names: .* nested too deep"),
        ("names.json", r'{"a\ud800": 0}', r"the name 'a\\ud800' holds half a character"),
    ],
)
def test_class_names_that_are_refused(write, name, content, message):
    with pytest.raises(ValueError, match=message):
        read_class_names(write(content, name))


# Whatever a list holds -----
PARTS = st.sampled_from(
    [b",", b"\t", b" ", b";", b"\n", b"\r", b"\0", b"7", b"12", b"-", b".", b"a.mp4", b"9" * 5000, b"\xff"]
)
UNPLANNED = settings(derandomize=True, database=None, deadline=None, max_examples=200)
SUPPRESSED = [HealthCheck.function_scoped_fixture]


@settings(UNPLANNED, suppress_health_check=SUPPRESSED)
@given(
    st.lists(st.one_of(PARTS, st.binary(max_size=4)), max_size=30).map(b"".join), st.booleans(), st.booleans()
)
def test_any_list_is_read_or_refused_in_one_line(write, content, multi_label, frame_folders):
    path = write(content)
    try:
        table = read_list(path, num_classes=10, multi_label=multi_label, frame_folders=frame_folders)
    except ValueError as error:
        assert str(error).startswith(f"{path}:") and len(str(error).splitlines()) == 1
        return
    for index in range(len(table)):
        assert table.name(index).strip()
        labels = table.label(index)
        assert labels if multi_label else 0 <= labels < 10
        assert not frame_folders or table.num_frames(index) > 0


NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12).filter(
    lambda name: name == name.strip() and not name.startswith("\ufeff")
)


@settings(UNPLANNED, suppress_health_check=SUPPRESSED)
@given(st.lists(st.tuples(NAMES, st.integers(0, 9)), min_size=1, max_size=8), st.sampled_from([",", "\t"]))
def test_what_is_written_comes_back(write, videos, separator):
    path = write("".join(f"{name}{separator}{label}\n" for name, label in videos))
    assert rows(read_list(path, separator=separator, num_classes=10)) == videos


def test_where_class_names_are_found(write, tmp_path):
    assert find_class_names(tmp_path) is None
    json_names = write('{"from json": 0}', "classes.json")
    assert find_class_names(tmp_path, "") == ["from json"]
    write("from text\n", "classes.txt")
    assert find_class_names(tmp_path) == ["from text"]
    assert find_class_names(tmp_path, str(json_names)) == ["from json"]
    with pytest.raises(FileNotFoundError, match=r"missing\.txt: no such file"):
        find_class_names(tmp_path, str(tmp_path / "missing.txt"))


def test_class_names_and_number_of_classes_agree():
    check_class_names(["a", "b"], 2)
    with pytest.raises(ValueError, match=r"2 class names, but MODEL\.NUM_CLASSES is 3"):
        check_class_names(["a", "b"], 3)


def test_paths_without_a_list_have_names_and_no_labels():
    table = annotations.table_of_paths(["a/b.mp4", "ü.mp4"], prefix="media")
    assert len(table) == 2 and table.name(1) == "ü.mp4" and table.path(0) == os.path.join("media", "a/b.mp4")
    assert table.label(0) == table.label(1) == []
    assert table.digest() != annotations.table_of_paths(["a/b.mp4"], prefix="media").digest()
