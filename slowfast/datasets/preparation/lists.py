"""Items → the files of a data set's list folder, each written as a whole."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slowfast.datasets.preparation.entries import SPLITS, UNLABELLED, Item, LeftOut
from slowfast.datasets.preparation.media import KINDS
from slowfast.utils.atomic import replace_file

SPLIT_FOLDERS = ("split1", "split2", "split3")  # of ucf101 and hmdb51
_CSV_LISTS = {split: f"{split}.csv" for split in (*SPLITS, UNLABELLED)}


@dataclass(frozen=True)
class ListFormat:
    """How the lists of a data set are called and written.

    names: split → file. separator: between the columns of a line; a tab takes its place in frame lists whose
    paths contain it. test_is_val: the test list is a copy of the validation list where no test videos are
    labelled and `names` has one.
    """

    names: Mapping[str, str]
    separator: str = ","
    test_is_val: bool = True

    @property
    def list_template(self) -> str:
        """DATA.LABEL_PATH_TEMPLATE, or "" for train.csv, val.csv, test.csv, which are found without."""
        return "" if self.names == _CSV_LISTS else self.names["train"].replace("train", "{}")


def list_format(data_set: str, kind: str) -> ListFormat:
    """The format that the recipes of a data set read (k400, k600, ssv1, ssv2, ucf101, hmdb51, folders)."""
    if kind == "videos":
        separator = " " if data_set in ("ucf101", "hmdb51") else ","
        return ListFormat(_CSV_LISTS, separator, test_is_val=data_set != "folders")
    if data_set in ("ssv1", "ssv2"):
        stem = f"somesomev{data_set[-1]}_rgb_"
        names = {"train": "train", "val": "validation", UNLABELLED: "test"}
        return ListFormat({split: f"{stem}{name}_split.txt" for split, name in names.items()}, " ")
    if data_set == "hmdb51":
        return ListFormat({"train": "train.txt", "val": "val.txt"}, " ")
    return ListFormat(_CSV_LISTS, " ", test_is_val=data_set != "folders")


def reading_data_set(data_set: str, kind: str) -> str:
    """The name for TRAIN.DATASET and TEST.DATASET that reads these lists: of those that read frame folders, ssv2 takes
    frames from the whole video and hmdb51 clips.
    """
    if kind == "frames":
        return {"ssv1": "ssv1", "ssv2": "ssv2", "folders": "ssv2"}.get(data_set, "hmdb51")
    return data_set if data_set in ("ssv2", "ucf101", "hmdb51") else "kinetics"


def remove_other_lists(folder: Path, data_set: str, written: Collection[str]) -> list[Path]:
    """Remove the lists that an earlier preparation of the data set left in a folder, unless just `written`.

    They would be read together with the new ones, though their videos may stand in another list by now. Names of
    both formats count, others are left alone. Returns what was removed.
    """
    names = {name for kind in KINDS for name in list_format(data_set, kind).names.values()}
    old = [folder / name for name in sorted(names - set(written)) if (folder / name).is_file()]
    for path in old:
        path.unlink()
    return old


def require_writable(folder: Path) -> None:
    """Make the folder and try to write there, before hours of work end in a refusal. Raises OSError naming it."""
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise type(error)(f"cannot write to the output folder {folder}: {error.strerror}") from error


def with_test(items: Sequence[Item], form: ListFormat) -> dict[str, list[Item]]:
    """split → its items, for the splits that have a list; test is filled from val as the format says."""
    found = {split: [item for item in items if item.split == split] for split in form.names}
    if form.test_is_val and "test" in form.names and not found["test"]:
        found["test"] = found["val"]
    return {split: chosen for split, chosen in found.items() if chosen}


def unlistable(items: Sequence[Item]) -> list[LeftOut]:
    """Items whose path a list cannot hold, because reading it back would give another path."""
    left_out = []
    for item in items:
        reason = ""
        try:
            item.path.encode()
        except UnicodeEncodeError:
            reason = "the name is not UTF-8"
        if item.path != item.path.strip():
            reason = "the name begins or ends with white space"
        if set("\r\n") & set(item.path):
            reason = "the name contains a line break"
        if reason:
            left_out.append(LeftOut(item.path, reason, item.label, item.split))
    return left_out


def list_text(items: Sequence[Item], separator: str) -> str:
    """`path SEP label` lines; with numbers of frames `path SEP num_frames SEP label`."""
    if items and items[0].num_frames is not None and any(separator in item.path for item in items):
        separator = "\t"
    return "".join(
        separator.join(
            [item.path, *([] if item.num_frames is None else [str(item.num_frames)]), str(item.label)]
        )
        + "\n"
        for item in items
    )


def write_lists(
    folder: Path,
    items: Sequence[Item],
    left_out: Sequence[LeftOut],
    class_names: Sequence[str],
    form: ListFormat,
) -> dict[str, list[Item]]:
    """Write the lists, classes.txt, missing.csv and counts.csv; return split → items as listed."""
    listed = with_test(items, form)
    for split, chosen in listed.items():
        _write(folder / form.names[split], list_text(chosen, form.separator))
    write_class_names(folder, class_names)
    write_missing(folder, left_out)
    _write(folder / "counts.csv", csv_text(*counts_table(listed, left_out, class_names)))
    return listed


def write_missing(folder: Path, left_out: Sequence[LeftOut]) -> None:
    """missing.csv of (path, reason)."""
    _write(folder / "missing.csv", csv_text(["path", "reason"], [(item.path, item.reason) for item in left_out]))


def write_damaged(folder: Path, damaged: Sequence[tuple[str, str]]) -> None:
    """damaged.csv of (path, reason): listed videos that end before their header says. Without any, there is no file."""
    path = folder / "damaged.csv"
    if damaged:
        _write(path, csv_text(["path", "reason"], damaged))
    else:
        path.unlink(missing_ok=True)  # of an earlier preparation


def write_class_names(folder: Path, class_names: Sequence[str]) -> None:
    """classes.txt, one name a line from class 0."""
    _write(folder / "classes.txt", "".join(f"{name}\n" for name in class_names))


def counts_table(
    listed: Mapping[str, Sequence[Item]], left_out: Sequence[LeftOut], class_names: Sequence[str]
) -> tuple[list[str], list[tuple]]:
    """(header, one row per class): label, class, number of videos in each split, number left out."""
    splits = [split for split in SPLITS if split in listed]
    counts = {split: Counter(item.label for item in listed[split]) for split in splits}
    lost = Counter(item.label for item in left_out if item.split != UNLABELLED)
    rows = [
        (label, name, *(counts[split][label] for split in splits), lost[label])
        for label, name in enumerate(class_names)
    ]
    return ["label", "class", *splits, "missing"], rows


def csv_text(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """A table as the files of a preparation have it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    with replace_file(path) as file:
        file.write(os.fsencode(text))
