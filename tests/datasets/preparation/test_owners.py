"""owners.py: annotation files as their owners distribute them, and files that are something else."""

import json

import pytest

from slowfast.datasets.preparation import owners
from slowfast.datasets.preparation.classes import ClassNumbers
from slowfast.datasets.preparation.entries import Entry

KINETICS = """\
label,youtube_id,time_start,time_end,split
testifying,---QUuC4vJs,84,94,validate
"petting animal (not cat)",--3ouPhoy2A,20,30,validate
"""
KINETICS_CLASSES = ClassNumbers(["petting animal not cat", "marching", "testifying"], "classes.txt")

SOMETHING_CLASSES = ClassNumbers(
    ["Holding [something]", "Pouring [something] into [something]", "Tearing [something] just a little bit"],
    "classes.txt",
)
SOMETHING_V1 = "100218;Pouring something into something\n24413;Tearing something just a little bit\n"
SOMETHING_V2 = [
    {
        "id": "78687",
        "label": "holding potato next to vicks vaporub bottle",
        "template": "Holding [something]",
        "placeholders": ["potato"],
    },
    {
        "id": "42326",
        "label": "pouring",
        "template": "Pouring [something] into [something]",
        "placeholders": [],
    },
]

UCF_CLASSES = ClassNumbers(["ApplyEyeMakeup", "Archery"], "classes.txt")
HMDB_CLASSES = ClassNumbers(["brush_hair", "wave"], "classes.txt")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def ucf(tmp_path, **files):
    texts = {
        "classInd.txt": "1 ApplyEyeMakeup\r\n2 Archery\r\n",
        "trainlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\nArchery/v_Archery_g08_c01.avi 2\r\n",
        "testlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\r\nArchery/v_Archery_g01_c02.avi\r\n",
        **{name.replace("_", "."): text for name, text in files.items()},
    }
    for name, text in texts.items():
        write(tmp_path / "ucf" / name, text)
    return tmp_path / "ucf"


def hmdb(tmp_path, **files):
    texts = {
        "brush_hair_test_split1": "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 \nbrushing_#2_hair.avi 2 \nx.avi 0 \n",
        "wave_test_split1": "50_FIRST_DATES_wave_f_cm_np1_fr_med_0.avi 2 \nAuthor_wave.avi 1 \n",
        **files,
    }
    for name, text in texts.items():
        write(tmp_path / "hmdb" / f"{name}.txt", text)
    return tmp_path / "hmdb"


def test_kinetics(tmp_path):
    path = write(tmp_path / "val.csv", KINETICS)
    assert owners.read_kinetics(path, "val", KINETICS_CLASSES) == [
        Entry(("---QUuC4vJs_000084_000094", "---QUuC4vJs"), "testifying", 2, "val", f"{path}:2"),
        Entry(
            ("--3ouPhoy2A_000020_000030", "--3ouPhoy2A"), "petting animal (not cat)", 0, "val", f"{path}:3"
        ),
    ]


def test_kinetics_columns_are_found_by_name(tmp_path):
    text = "\ufeffyoutube_id,label,is_cc,time_end,time_start\nabc,marching,0,12.0,2.0\n"
    (entry,) = owners.read_kinetics(write(tmp_path / "a.csv", text), "train", KINETICS_CLASSES)
    assert (entry.names, entry.label, entry.split) == (("abc_000002_000012", "abc"), 1, "train")


def test_a_kinetics_test_file_without_labels_is_unlabelled(tmp_path):
    path = write(tmp_path / "test.csv", "youtube_id,time_start,time_end,split\nabc,1,11,test\n")
    (entry,) = owners.read_kinetics(path, "test", KINETICS_CLASSES)
    assert (entry.split, entry.label) == ("unlabelled", 0)
    with pytest.raises(ValueError, match="where the header of a Kinetics csv should stand"):
        owners.read_kinetics(path, "val", KINETICS_CLASSES)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "testifying,abc,84,94,validate\n",
            "a.csv:1: found 'testifying,abc,84,94,validate' where the header",
        ),
        (SOMETHING_V1, "a.csv:1: found '100218;Pouring something into something' where the header"),
        (
            KINETICS.replace("testifying", "testifyin"),
            "a.csv:2: unknown class 'testifyin'; nearest: 'testifying'",
        ),
        (KINETICS.replace("84,", ""), "a.csv:2: 4 fields, but the header names 5"),
        (KINETICS.replace("84", "soon"), "a.csv:2: time 'soon' is not a number"),
        (KINETICS.replace("--3ouPhoy2A", ""), "a.csv:3: no youtube_id"),
        (
            KINETICS.replace("validate", "train"),
            "a.csv:2: this row is of the split 'train', in a file given for val",
        ),
        (KINETICS.splitlines()[0], "a.csv: no videos"),
        ("", "a.csv:1: found ''"),
    ],
)
def test_kinetics_refusals(tmp_path, text, said):
    with pytest.raises(ValueError) as error:
        owners.read_kinetics(write(tmp_path / "a.csv", text), "val", KINETICS_CLASSES)
    assert said in str(error.value)


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.csv: no such file"):
        owners.read_kinetics(tmp_path / "nothing.csv", "val", KINETICS_CLASSES)
    with pytest.raises(ValueError, match="a folder; give the annotation file itself"):
        owners.read_kinetics(tmp_path, "val", KINETICS_CLASSES)
    (tmp_path / "a.csv").write_bytes(b"\x1f\x8b\xff")
    with pytest.raises(ValueError, match="still compressed"):
        owners.read_kinetics(tmp_path / "a.csv", "val", KINETICS_CLASSES)


def test_something_v1(tmp_path):
    path = write(tmp_path / "something-something-v1-train.csv", SOMETHING_V1)
    entries = owners.read_something_v1(path, "train", SOMETHING_CLASSES)
    assert [(entry.names, entry.label, entry.where) for entry in entries] == [
        (("100218",), 1, f"{path}:1"),
        (("24413",), 2, f"{path}:2"),
    ]
    test = owners.read_something_v1(write(tmp_path / "test.csv", "1\n2\n"), "test", SOMETHING_CLASSES)
    assert [(entry.names, entry.label, entry.split) for entry in test] == [
        (("1",), 0, "unlabelled"),
        (("2",), 0, "unlabelled"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            KINETICS,
            "a.csv:1: found 'label,youtube_id,time_start,time_end,split'; Something-Something V1 has lines",
        ),
        ("1;Holding something\n2\n", "a.csv:2: no template"),
        (
            "1;Holding nothing at all\n",
            "a.csv:1: unknown class 'Holding nothing at all'; nearest: 'Holding [some",
        ),
    ],
)
def test_something_v1_refusals(tmp_path, text, said):
    with pytest.raises(ValueError) as error:
        owners.read_something_v1(write(tmp_path / "a.csv", text), "train", SOMETHING_CLASSES)
    assert said in str(error.value)


def test_something_v2(tmp_path):
    path = write(tmp_path / "something-something-v2-train.json", json.dumps(SOMETHING_V2))
    entries = owners.read_something_v2(path, "train", SOMETHING_CLASSES)
    assert [(entry.names, entry.label) for entry in entries] == [(("78687",), 0), (("42326",), 1)]
    path = write(tmp_path / "something-something-v2-test.json", '[{"id": "1420"}]')
    (entry,) = owners.read_something_v2(path, "test", SOMETHING_CLASSES)
    assert (entry.names, entry.label, entry.split) == (("1420",), 0, "unlabelled")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SOMETHING_V1, "a.json:1: not JSON"),
        ('{"Holding something": "0"}', "a.json: a list of"),
        ('["78687"]', "a.json: video 0: found '78687'"),
        ('[{"id": "5"}]', "a.json: video 0 (id 5): no template"),
        ('[{"id": "5", "template": "Holding"}]', "a.json: video 0 (id 5): unknown class 'Holding'"),
    ],
)
def test_something_v2_refusals(tmp_path, text, said):
    with pytest.raises(ValueError) as error:
        owners.read_something_v2(write(tmp_path / "a.json", text), "train", SOMETHING_CLASSES)
    assert said in str(error.value)


def test_something_labels_in_both_formats(tmp_path):
    names = ["Holding something", "Pouring something into something"]
    v1 = write(tmp_path / "something-something-v1-labels.csv", "\n".join(names) + "\n")
    v2 = write(tmp_path / "labels.json", json.dumps({names[1]: "1", names[0]: "0"}))
    assert owners.read_something_labels(v1) == owners.read_something_labels(v2) == names
    with pytest.raises(ValueError, match="labels are written as"):
        owners.read_something_labels(write(tmp_path / "other.json", json.dumps(SOMETHING_V2)))


def test_ucf101(tmp_path):
    folder = ucf(tmp_path)
    splits = owners.read_ucf101(folder, UCF_CLASSES)
    assert list(splits) == ["split1"]
    assert [(entry.names, entry.class_name, entry.label, entry.split) for entry in splits["split1"]] == [
        (("v_ApplyEyeMakeup_g01_c01",), "ApplyEyeMakeup", 0, "val"),
        (("v_Archery_g01_c02",), "Archery", 1, "val"),
        (("v_ApplyEyeMakeup_g08_c01",), "ApplyEyeMakeup", 0, "train"),
        (("v_Archery_g08_c01",), "Archery", 1, "train"),
    ]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"classInd_txt": "1 Archery\n2 ApplyEyeMakeup\n"},
            "class 0 is 'Archery' there and 'ApplyEyeMakeup'",
        ),
        ({"trainlist01_txt": "Archery/v_a.avi 1\n"}, "trainlist01.txt:1: class 'Archery' has the number 1"),
        ({"trainlist01_txt": "v_a.avi 1\n"}, "trainlist01.txt:1: found 'v_a.avi 1'; UCF101 has lines"),
        (
            {"testlist01_txt": "Arcery/v_a.avi\n"},
            "testlist01.txt:1: unknown class 'Arcery'; nearest: 'Archery'",
        ),
        ({"trainlist02_txt": "Archery/v_a.avi 2\n"}, "split2 needs trainlist02.txt and testlist02.txt"),
    ],
)
def test_ucf101_refusals(tmp_path, files, said):
    with pytest.raises(ValueError) as error:
        owners.read_ucf101(ucf(tmp_path, **files), UCF_CLASSES)
    assert said in str(error.value)


def test_hmdb51(tmp_path):
    splits = owners.read_hmdb51(hmdb(tmp_path), HMDB_CLASSES)
    assert list(splits) == ["split1"]
    assert [(entry.names, entry.label, entry.split) for entry in splits["split1"]] == [
        (("April_09_brush_hair_u_nm_np1_ba_goo_0",), 0, "train"),
        (("brushing_#2_hair",), 0, "val"),
        (("50_FIRST_DATES_wave_f_cm_np1_fr_med_0",), 1, "val"),
        (("Author_wave",), 1, "train"),
    ]
    assert all(entry.names_repeat for entry in splits["split1"])


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"wave_test_split1": "a.avi 3\n"}, "wave_test_split1.txt:1: found 'a.avi 3'; HMDB51 has lines"),
        ({"weave_test_split1": "a.avi 1\n"}, "unknown class 'weave'; nearest: 'wave'"),
        (
            {"wave_test_split2": "a.avi 1\n"},
            "split2 has no videos of 1 classes: brush_hair; is a file missing?",
        ),
    ],
)
def test_hmdb51_refusals(tmp_path, files, said):
    with pytest.raises(ValueError) as error:
        owners.read_hmdb51(hmdb(tmp_path, **files), HMDB_CLASSES)
    assert said in str(error.value)


def test_folders_without_annotation_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        owners.read_hmdb51(tmp_path / "nothing", HMDB_CLASSES)
    with pytest.raises(
        ValueError, match="no annotation files in it; they are named like brush_hair_test_split1"
    ):
        owners.read_hmdb51(ucf(tmp_path), HMDB_CLASSES)
    with pytest.raises(FileNotFoundError, match="classInd.txt: no such file"):
        owners.read_ucf101(hmdb(tmp_path), UCF_CLASSES)
