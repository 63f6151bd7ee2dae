"""The files of a test are read as one test, or refused."""

import numpy as np
import pytest

from slowfast.engine import results
from slowfast.reporting.mistakes import worst_mistakes
from slowfast.reporting.reading import read_run


def test_a_run_is_what_its_files_say(made_up):
    folder = made_up().write(20, 6, clips=2, crops=3)
    run = read_run(folder)
    assert (run.clips, run.crops, run.logits.shape) == (2, 3, (20, 6, 6))
    assert run.labelled and not run.multi_label and len(run.paths) == 20
    assert run.scores == pytest.approx(run.logits.sum(axis=1), abs=1e-4)
    assert run.mean_logits == pytest.approx(run.logits.mean(axis=1), abs=1e-5)
    top1 = 100 * (run.scores.argmax(axis=1) == run.label_array).mean()
    assert top1 == pytest.approx(run.results["video"]["top1"])
    assert run.metrics == [] and len(read_run(made_up().train(3)).metrics) == 6


def test_class_names_are_those_among_the_best_of_any_video(made_up):
    folder = made_up().write(30, 6)
    assert read_run(folder).class_names == tuple(f"class {number}" for number in range(6))
    assert read_run(folder, list("abcdef")).class_names == tuple("abcdef")
    one_video = made_up("other").write(1, 8)
    names = read_run(one_video).class_names
    assert sum(name.startswith("class ") for name in names) == 5
    assert all(name in (f"class {number}", str(number)) for number, name in enumerate(names))


def test_videos_that_lack_views_are_left_out(made_up):
    folder = made_up().write(10, 6, clips=2, crops=1)
    with np.load(folder / "scores.npz") as arrays:
        kept = {name: np.delete(arrays[name], 7, axis=0) for name in arrays.files}  # a view of video 3
    results.write_scores(folder / "scores.npz", **kept)
    lines = (folder / "predictions.csv").read_text().splitlines(keepends=True)
    (folder / "predictions.csv").write_text("".join(lines[:4] + lines[5:]))
    run = read_run(folder)
    assert run.video_ids.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9] and run.logits.shape == (9, 2, 6)


def test_several_labels_and_none(made_up):
    several = read_run(made_up("several").write(3, 6, labels=[(0, 2), (1,), (5, 3)]))
    assert several.multi_label and several.labels == ((0, 2), (1,), (5, 3))
    assert several.hot().sum() == 5 and several.hot()[2, [3, 5]].tolist() == [1, 1]
    none = read_run(made_up("none").write(3, 6, unlabelled="they are dummies"))
    assert not none.labelled and none.labels == ((), (), ()) and worst_mistakes(none) == []


def test_paths_keep_bytes_that_are_not_utf_8(made_up):
    paths = ["caf\udce9.mp4", 'a,"b".mp4']
    assert read_run(made_up().write(2, 6, paths=paths)).paths == tuple(paths)


@pytest.mark.parametrize("name", ["results.json", "predictions.csv", "scores.npz"])
def test_a_folder_without_a_finished_test_is_refused(made_up, name):
    folder = made_up().write(4, 6)
    (folder / name).unlink()
    with pytest.raises(
        FileNotFoundError, match=f"holds no finished test \\({name} missing\\).*TEST.ENABLE True"
    ):
        read_run(folder)


def test_what_is_no_run_is_refused(made_up):
    folder = made_up().write(4, 6)
    with pytest.raises(FileNotFoundError, match="no such folder; give the OUTPUT_DIR"):
        read_run(folder / "elsewhere")
    with pytest.raises(ValueError, match="is a file: give the OUTPUT_DIR of a run"):
        read_run(folder / "results.json")
    with pytest.raises(ValueError, match="5 class names for scores of 6 classes"):
        read_run(folder, list("abcde"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("results.json", b'{"video": ', "not a whole result file"),
        ("results.json", b"[]", "not the result of a test: it lacks video"),
        (
            "results.json",
            b'{"video": {}, "views": "8x3x2"}',
            "not the result of a test: it lacks num_scored, num_total, ensemble_method",
        ),
        ("predictions.csv", b"path,label,predicted,top1_name\n", "not a whole list of predictions"),
        ("predictions.csv", b"path,label,predicted,top1_name\na.mp4,3\n", "not a whole list of predictions"),
        ("scores.npz", b"PK\x03\x04", "not a whole file of scores"),
        ("scores.npz", b"", "not a whole file of scores"),
    ],
)
def test_damaged_files_are_named(made_up, name, content, message):
    folder = made_up().write(4, 6)
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is {message}"):
        read_run(folder)


def test_views_must_be_readable(made_up):
    with pytest.raises(ValueError, match="views are 'many'"):
        read_run(made_up().write(4, 6, views="many"))


def test_files_of_different_tests_are_refused(made_up):
    folder, other = made_up().write(8, 6), made_up("other").write(8, 6, seed=5)
    (folder / "scores.npz").write_bytes((other / "scores.npz").read_bytes())
    with pytest.raises(
        ValueError, match="not of one test \\(8 and 8 videos scored, or other classes predicted\\)"
    ):
        read_run(folder)
    shorter = made_up("shorter").write(7, 6)
    (folder / "scores.npz").write_bytes((shorter / "scores.npz").read_bytes())
    with pytest.raises(ValueError, match="not of one test \\(8 and 7 videos"):
        read_run(folder)


def test_worst_mistakes_are_the_most_confident_ones(made_up):
    run = read_run(made_up().write(200, 6))
    found = worst_mistakes(run, most=10)
    chances = [one.probability for one in found]
    assert len(found) == 10 and chances == sorted(chances, reverse=True)
    for one in found:
        assert run.labels[one.row] == (one.label,) != (one.predicted,)
        assert run.scores[one.row].argmax() == one.predicted and one.rank > 1
        assert one.probability > one.label_probability
    everything = worst_mistakes(run, most=1000)
    assert len(everything) == (run.scores.argmax(axis=1) != run.label_array).sum()
