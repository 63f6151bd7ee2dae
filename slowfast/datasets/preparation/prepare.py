"""The two stories: annotation files and media → lists, and a tree of class folders → lists."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from slowfast.datasets.preparation import checking, folders, lists, media, report
from slowfast.datasets.preparation.classes import ClassNumbers, names_alike
from slowfast.datasets.preparation.conversion import Result, Task, convert
from slowfast.datasets.preparation.entries import Entry, Item, LeftOut
from slowfast.datasets.preparation.extraction import ExtractFrames


@dataclass(frozen=True)
class Plan:
    """Where things lie and what shall be done with the media.

    data_set: k400, k600, ssv1, ssv2, ucf101, hmdb51 or folders. media: folder of videos or frame folders. out:
    folder for the lists. use: auto, videos or frames. task: what to make from every video, into the folder
    `converted`; the lists then name what was made. check: whether media that are listed as they are get looked into.
    """

    data_set: str
    media: Path
    out: Path
    use: str = "auto"
    task: Task | None = None
    converted: Path | None = None
    workers: int = 1
    check: bool = True


@dataclass(frozen=True)
class Prepared:
    """What came of a preparation: a report for people, and the keys of a config that read the lists."""

    report: str
    keys: dict[str, object]


@dataclass
class _Media:
    """The media folder of a plan, and what was made from its videos.

    kind: what is used of it, videos or frames. made: what the lists name, which may have been made from it.
    """

    tree: media.MediaTree
    kind: str
    made: str
    form: lists.ListFormat
    plan: Plan
    results: dict[str, Result] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    num_checked: int = 0

    def convert_or_check(self, paths: Sequence[str]) -> None:
        """Make of the media what was asked for; check those that are to be listed as they are."""
        root, plan = self.tree.root, self.plan
        if plan.task:
            found = self.results = convert(root, paths, plan.converted, plan.task, workers=plan.workers)
        elif plan.check:
            found, self.num_checked = self._check(paths), len(paths)
        else:
            return
        self.unreadable = {path: one.reason for path, one in found.items() if one.reason}
        self.damaged = {path: one.damage for path, one in found.items() if one.damage}

    def _check(self, paths: Sequence[str]) -> dict[str, checking.Finding]:
        root, workers = self.tree.root, self.plan.workers
        if self.kind == "videos":
            return checking.check_videos(root, paths, workers=workers)
        return checking.check_frame_folders(root, paths, self.tree.frames, workers=workers)

    def usable(self, items: Sequence[Item]) -> tuple[list[Item], list[LeftOut]]:
        """Items whose medium could be read, as far as that was tried, and whose path a list can hold.

        Their paths are still those of the media found; `listed` gives those of what was made.
        """
        refused = {item.path: item for item in lists.unlistable(items)}
        for item in items:
            if item.path in self.unreadable:
                refused[item.path] = LeftOut(item.path, self.unreadable[item.path], item.label, item.split)
        return [item for item in items if item.path not in refused], list(refused.values())

    def listed(self, items: Sequence[Item]) -> list[Item]:
        if not self.plan.task:
            return list(items)
        made = [replace(item, path=self.results[item.path].path) for item in items]
        if not isinstance(self.plan.task, ExtractFrames):
            return made
        counts = [self.results[item.path].num_frames for item in items]
        return [replace(item, num_frames=count) for item, count in zip(made, counts, strict=True)]

    def image_template(self) -> str:
        """DATA.IMAGE_TEMPLATE of the frame folders that the lists name, or "" for videos."""
        if isinstance(self.plan.task, ExtractFrames):
            return self.plan.task.template
        templates = (folder.template for folder in self.tree.frames.values() if not folder.problem)
        return next(templates, "") if self.kind == "frames" else ""


def prepare_annotated(plan: Plan, annotated: Mapping[str, Sequence[Entry]], classes: ClassNumbers) -> Prepared:
    """Lists of the entries whose media are there, in `out` or its folders split1, split2, ....

    annotated: folder below `out` ("" for itself) → entries.
    """
    found = _open(plan)
    matched = {name: media.match(entries, found.tree, found.kind) for name, entries in annotated.items()}
    used = sorted({item.path for items, _ in matched.values() for item in items})
    found.convert_or_check(used)
    texts, written = [], {}
    for name, (items, left_out) in matched.items():
        usable, refused = found.usable(items)
        text, written[name] = _write(found, name, usable, [*left_out, *refused], classes.names)
        texts.append(text)
    if "" not in annotated:
        lists.write_class_names(plan.out, classes.names)
        for name in ("", *lists.SPLIT_FOLDERS):
            if name not in annotated:
                texts += report.removed(lists.remove_other_lists(plan.out / name, plan.data_set, ()))
    texts += report.unused(len(found.tree.paths(found.kind)) - len(used), found.kind, plan.media)
    return _prepared(found, texts, len(classes.names), written)


def prepare_tree(
    plan: Plan,
    shares: folders.Shares,
    *,
    classes: ClassNumbers | None = None,
    group_by: str = "",
    seed: int = 0,
) -> Prepared:
    """Lists of a tree of class folders, with a drawn split.

    Classes are numbered in the order of the folders' names, or as `classes` has them.
    What cannot be used (copies, videos that cannot be read) is left out before the split is drawn. Raises ValueError
    where what remains cannot be split; missing.csv then names what was left out.
    """
    found = _open(plan)
    names, items, left_out = folders.read_tree(found.tree, found.kind, classes)
    used = sorted({item.path.partition("/")[0] for item in items})
    unused = [name for name in found.tree.folders if name not in used and name not in found.tree.frames]
    items, copies = folders.without_copies(items, found.tree, found.kind)
    folders.groups_of(items, group_by)  # a pattern that does not fit is told before hours of converting
    found.convert_or_check([item.path for item in items])
    items, refused = found.usable(items)
    left_out += [*copies, *(replace(item, split="") for item in refused)]
    try:
        items = folders.split_items(items, folders.groups_of(items, group_by), names, shares, seed)
    except ValueError as error:
        if not left_out:
            raise
        lists.write_missing(plan.out, left_out)
        raise ValueError(f"{error}. {report.left_out_before(plan.out, left_out, names)}") from None
    text, written = _write(found, "", items, left_out, names)
    notes = [*report.no_classes(unused), *report.alike(names_alike(used))]
    return _prepared(found, [text, *notes], len(names), {"": written})


def _open(plan: Plan) -> _Media:
    lists.require_writable(plan.out)
    if plan.task and plan.use == "frames":
        raise ValueError(
            "--use frames: frames are extracted, and videos transcoded, from videos; leave it out"
        )
    tree = media.look(plan.media)
    kind = media.choose_kind(tree, "videos" if plan.task else plan.use)
    made = "frames" if isinstance(plan.task, ExtractFrames) else kind
    if plan.data_set == "ssv1" and made == "videos":
        raise ValueError(
            f"{plan.media}: video files, but the data set ssv1 reads frame folders only: add --extract-frames DIR, "
            "which makes them"
        )
    return _Media(tree, kind, made, lists.list_format(plan.data_set, made), plan)


def _write(
    found: _Media, name: str, items: Sequence[Item], left_out: Sequence[LeftOut], class_names: Sequence[str]
) -> tuple[str, list[str]]:
    """Write the lists of one folder below `out`; return (report, splits that have a list)."""
    folder = found.plan.out / name
    listed = lists.write_lists(folder, found.listed(items), left_out, class_names, found.form)
    damaged = [(item.path, found.damaged[item.path]) for item in items if item.path in found.damaged]
    lists.write_damaged(folder, damaged)
    written = [found.form.names[split] for split in listed]
    removed = lists.remove_other_lists(folder, found.plan.data_set, written)
    text = report.summary(folder, listed, left_out, class_names, found.form)
    notes = [*report.damaged(folder, len(damaged)), *report.removed(removed)]
    return "\n".join([text, *notes]), list(listed)


def _prepared(
    found: _Media, lines: Sequence[str], num_classes: int, written: Mapping[str, Collection[str]]
) -> Prepared:
    """written: folder below `out` → the splits that have a list there."""
    keys = _keys(found, num_classes, written)
    closing = [
        *report.ignored(found.tree.others),
        *report.conversion(found.results),
        *report.checked(found.num_checked, len(found.unreadable), found.kind),
        *report.usage(keys),
    ]
    return Prepared("\n".join([*lines, *closing]), keys)


def _keys(found: _Media, num_classes: int, written: Mapping[str, Collection[str]]) -> dict[str, object]:
    """Keys of a configuration → values, for what was written; what has no list is switched off."""
    plan, form = found.plan, found.form
    reader = lists.reading_data_set(plan.data_set, found.made)
    keys = {
        "TRAIN.DATASET": reader,
        "TEST.DATASET": reader,
        "DATA.PATH_TO_DATA_DIR": plan.out,
        "DATA.PATH_PREFIX": plan.converted if plan.task else plan.media,
        "MODEL.NUM_CLASSES": num_classes,
    }
    if found.made == "frames":
        keys["DATA.IMAGE_TEMPLATE"] = found.image_template()
    if form.list_template:
        keys["DATA.LABEL_PATH_TEMPLATE"] = form.list_template
    folder = min(written)
    if folder:
        keys["DATA.SPLIT"] = folder.removeprefix("split")
    if "train" not in written[folder]:
        keys["TRAIN.ENABLE"] = False
    elif "val" not in written[folder]:
        keys |= {"TRAIN.EVAL_PERIOD": 0, "TEST.TEST_BEST": False}
    if ("test" if "test" in form.names else "val") not in written[folder]:  # as data sets look for it
        keys["TEST.ENABLE"] = False
    return keys
