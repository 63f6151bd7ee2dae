"""classes.py: names are compared by letters and digits, and the published orders hold together."""

import hashlib
from pathlib import Path

import pytest

from slowfast.datasets.annotations import read_class_names
from slowfast.datasets.preparation.classes import ClassNumbers, names_alike

DATA_LISTS = Path(__file__).resolve().parents[3] / "data_lists"


def test_numbers_follow_the_given_order():
    classes = ClassNumbers(["riding a bike", "marching", "petting animal (not cat)"], "classes.txt")
    assert classes.number([("petting_animal_(not_cat)", "a:1"), ("Riding A Bike", "a:2")]) == [2, 0]


def test_names_that_differ_in_spelling_alone_are_found():
    names = ["Pull_Up", "run", "pull up", "C", "pull-up!", "C++", "running"]
    assert names_alike(names) == [["Pull_Up", "pull up", "pull-up!"], ["C", "C++"]]
    assert names_alike(["run", "walk"]) == []


def test_unknown_classes_are_told_with_place_and_nearest_names():
    classes = ClassNumbers(["riding a bike", "riding mule", "yoga"], "classes.txt")
    with pytest.raises(ValueError) as error:
        classes.number([("yoga", "k.csv:2"), ("riding bike", "k.csv:3"), ("riding bike", "k.csv:9")])
    assert str(error.value).splitlines() == [
        "k.csv:3: unknown class 'riding bike'; nearest: 'riding a bike', 'riding mule'",
        "1 of 2 classes are among the 3 of classes.txt",
    ]


def test_many_unknown_classes_suggest_another_data_set():
    with pytest.raises(ValueError) as error:
        ClassNumbers(["a", "b"], "classes.txt").number([(f"class {n}", f"k.csv:{n}") for n in range(8)])
    assert "... and 3 more unknown classes" in str(error.value)
    assert "is this the annotation of another data set?" in str(error.value)


def test_names_that_differ_in_punctuation_alone_are_compared_as_written():
    classes = ClassNumbers(["C", "C++", "Java"], "classes.txt")
    assert classes.number([("C++", "a:1"), ("C", "a:2"), ("Java", "a:3")]) == [1, 0, 2]
    with pytest.raises(ValueError, match="a:1: unknown class 'java'; nearest: 'Java'"):
        classes.number([("java", "a:1")])


def test_a_name_that_is_there_twice_is_refused():
    with pytest.raises(ValueError, match="classes.txt: 'walk' is there more than once"):
        ClassNumbers(["walk", "run", "walk "], "classes.txt")


def test_an_order_that_differs_is_refused_with_the_first_difference():
    classes = ClassNumbers(["a", "b", "c"], "ours.txt")
    classes.require_order(["A", "B.", "c"], "theirs.txt")
    with pytest.raises(ValueError, match="theirs.txt: class 1 is 'c' there and 'b' in ours.txt"):
        classes.require_order(["a", "c", "b"], "theirs.txt")
    with pytest.raises(ValueError, match="theirs.txt: 2 classes; ours.txt has 3"):
        classes.require_order(["a", "b"], "theirs.txt")


@pytest.mark.parametrize(
    ("data_set", "count", "numbers"),
    [
        # Numbers stated in the specification of the published lists.
        ("k400", 400, {0: "riding a bike", 1: "marching", 2: "dodgeball", 341: "abseiling", 399: "playing badminton"}),
        ("k600", 600, {0: "feeding fish", 1: "poking bellybutton"}),
        ("ssv1", 174, {0: "Approaching something with your camera"}),
        ("ssv2", 174, {109: "Putting [something] on a surface"}),
        ("ucf101", 101, {0: "ApplyEyeMakeup", 100: "YoYo"}),
        ("hmdb51", 51, {0: "brush_hair", 50: "wave"}),
    ],
)  # fmt: skip
def test_published_orders(data_set, count, numbers):
    names = read_class_names(DATA_LISTS / data_set / "classes.txt")
    assert len(ClassNumbers(names, data_set).names) == count
    assert {number: names[number] for number in numbers} == numbers


def test_orders_said_to_be_alphabetical_are():
    for data_set, key in (
        ("ssv1", str),
        ("ssv2", lambda name: name.replace("[", "").replace("]", "")),
        ("ucf101", str.lower),
        ("hmdb51", str),
    ):
        names = read_class_names(DATA_LISTS / data_set / "classes.txt")
        assert names == sorted(names, key=key), data_set


@pytest.mark.parametrize("file", sorted(DATA_LISTS.glob("*/classes.txt")), ids=lambda file: file.parent.name)
def test_the_readme_of_a_data_set_states_lines_and_checksum(file):
    said = f"`classes.txt` has {len(file.read_bytes().splitlines())} lines, "
    said += f"SHA-256 `{hashlib.sha256(file.read_bytes()).hexdigest()}`."
    assert said in (file.parent / "README.md").read_text()
