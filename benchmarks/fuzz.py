"""Damaged files against everything here that reads files: nothing may crash or hang, and each refusal is one line.

python benchmarks/fuzz.py --out runs/fuzz [--videos 5000] [--texts 3000] [--checkpoints 1000] [--seed 0] [--media DIR ...]

Videos are made by damaging real encodings, small ones written here and, of every five, one from --media: in the header,
the index and the payload by turns. Each is decoded as tools/check_data.py does, in a process of its own; one of ten
also goes through the loader of a test with a worker, as does each that ended a process. Texts are video lists, class
names and recipes; checkpoints are archives of torch and its older files, with bytes changed, with a changed pickle
under a right checksum, and with values of wrong types.

Prints tables, and what is a fault: an error of an unexpected kind, a reason of several lines or of none, an item that
the loader lost. Files with which a process ended, and those of faults, stay in --out. The exit status is 1 for faults.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import containers
import numpy as np
from damaging import PAIRS, damaged, damaged_text, encode

from slowfast.datasets.checking.decoding import DAMAGED, GOOD, decode
from slowfast.datasets.checking.sources import VideoSource
from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.utils.isolation import Limits, Outcome, run_isolated

ROOT = Path(__file__).resolve().parents[1]
DEBUG_RECIPE = ROOT / "configs" / "debug" / "uniformer_debug.yaml"

CLIP = ClipSampler(num_frames=8, sampling_rate=2, num_clips=1)
KINDS = ("whole", "damaged", "refused", "crashed", "late", "memory", "fault")
ENDED = KINDS[3:6]  # a process

_VARIANTS = 4  # encodings of each pair
_MEDIA_EVERY, _LOADER_EVERY = 5, 10
_MOST_MEDIA_BYTES = 2**20
_REASONS_SHOWN = 12


@dataclass(frozen=True)
class Victim:
    """A damaged file, what it was made from and where it was hit."""

    path: Path
    origin: str
    region: str


# ----------------------------------------------------------------------------------------------------------
# Videos
# ----------------------------------------------------------------------------------------------------------
def sound_videos(folder: Path, rng: np.random.Generator) -> list[tuple[str, Path]]:
    """(pair, file) of encodings in several sizes, those of one pair next to each other."""
    made = []
    for pair in PAIRS:
        for variant in range(_VARIANTS):
            path = folder / f"{pair.name.replace('/', '-')}-{variant}{pair.suffix}"
            encode(pair, path, rng)
            made.append((pair.name, path))
    return made


def media_videos(folders: Sequence[Path]) -> list[tuple[str, Path]]:
    """("clips" and suffix, file) of the sound videos below some folders, in sorted order, up to 1 MiB each."""
    found = sorted(
        path for folder in folders for path in folder.rglob("*") if path.suffix in containers.LABELLERS
    )
    return [(f"clips {path.suffix}", path) for path in found if path.stat().st_size <= _MOST_MEDIA_BYTES]


def damage_videos(
    made: Sequence[tuple[str, Path]],
    media: Sequence[tuple[str, Path]],
    folder: Path,
    count: int,
    rng: np.random.Generator,
) -> list[Victim]:
    """`count` damaged videos, from all sources and regions by turns, the same for the same generator."""
    # Next to each other in `made` are variants of one pair, so turns go over the pairs first.
    turns = [made[place::_VARIANTS] for place in range(_VARIANTS)]
    turns = {False: [source for turn in turns for source in turn], True: list(media)}
    taken, victims, known = Counter(), [], {}
    for number in range(count):
        from_media = bool(media) and number % _MEDIA_EVERY == 0
        turn, sources = taken[from_media], turns[from_media]
        taken[from_media] += 1
        origin, path = sources[turn % len(sources)]
        region = turn // len(sources) % len(containers.REGIONS)
        if path not in known:
            data = path.read_bytes()
            known[path] = data, containers.label(data, path.suffix)
        target = (
            folder
            / f"{number:06d}-{origin.replace('/', '-').replace(' ', '-')}-{containers.REGIONS[region]}{path.suffix}"
        )
        target.write_bytes(damaged(*known[path], region, rng))
        victims.append(Victim(target, origin, containers.REGIONS[region]))
    return victims


def judge_videos(victims: Sequence[Victim], limits: Limits) -> Iterator[tuple[Victim, Outcome]]:
    """What came of each, as they end: all frames are decoded, in one process that is replaced when it ends."""
    jobs = [VideoSource(str(victim.path)) for victim in victims]
    for number, outcome in run_isolated(
        partial(decode, clips=CLIP, whole=True), jobs, processes=1, limits=limits
    ):
        yield victims[number], outcome


def kind_of(outcome: Outcome) -> str:
    """One of KINDS for an outcome whose value, if there is one, is (GOOD, DAMAGED or else, reason)."""
    if outcome.at_limit:
        for kind, begin in (
            ("late", "not done after"),
            ("memory", "needs more than"),
            ("crashed", "its process"),
        ):
            if outcome.failure.startswith(begin) and "garbled" not in outcome.failure:
                return kind
    if outcome.failure:
        return "fault"
    status, reason = outcome.value
    if status == GOOD:
        return "fault" if reason else "whole"
    if not is_one_line(reason):
        return "fault"
    return "damaged" if status == DAMAGED else "refused"


def reason_of(outcome: Outcome) -> str:
    return outcome.failure or outcome.value[1]


def is_one_line(reason: str) -> bool:
    return bool(reason.strip()) and len(reason.splitlines()) == 1


def through_loader(victims: Sequence[Victim], folder: Path, seconds: float) -> tuple[Counter, list[str]]:
    """How many of the videos are of each kind to the loader of a test with one worker, and the faults."""
    from slowfast.config import load_cfg
    from slowfast.datasets.build import build_loader
    from slowfast.datasets.watching import is_late

    folder.mkdir(exist_ok=True)
    (folder / "test.csv").write_text("".join(f"{victim.path.resolve()},0\n" for victim in victims))
    words = ["DATA.PATH_TO_DATA_DIR", folder, "OUTPUT_DIR", folder, "DATA_LOADER.DEADLINE_SECONDS", seconds]
    loader = build_loader(load_cfg(DEBUG_RECIPE, [str(word) for word in words]), "test")
    counts, faults, seen = Counter(), [], Counter()
    for batch in loader:
        for report in batch.reports:
            seen[report.index] += 1
            reason = report.failures[-1][1] if report.failures else report.damage
            kind = "damaged" if report.damage else "whole" if report.readable else "refused"
            if not report.readable:
                kind = "late" if is_late(reason) else "crashed" if reason.startswith("its process") else kind
            counts[kind] += 1
            if kind != "whole" and not is_one_line(reason):
                faults.append(f"{victims[report.index].path.name}: {reason!r}")
    faults += [f"{victims[n].path.name}: came {seen[n]} times" for n in range(len(victims)) if seen[n] != 1]
    return counts, faults


# ----------------------------------------------------------------------------------------------------------
# Lists, class names and recipes
# ----------------------------------------------------------------------------------------------------------
TEXTS = {
    "list comma": b"abseiling/a b.mp4,0\nzumba/b,c.avi,399\n/media/c.webm,17\n",
    "list tab": b"\xef\xbb\xbfabseiling/a.mp4\t0\r\nzumba/b.avi\t399\r\n",
    "list space": "abseiling/a b.mp4 0\n\nzumba/ü.avi 399\n".encode(),
    "list labels": b"a.mp4,3;17;42\nb.mp4,0\nc.mp4,399;1\n",
    "list frames": b"1 54 0\n2 90 173\nsome folder 1 399\n",
    "names txt": b"abseiling\nair drumming\nzumba\n",
    "names json": b'{"abseiling": 0, "air drumming": "1", "zumba": 2}',
    "recipe": DEBUG_RECIPE.read_bytes(),
}
TOKENS = (
    b",", b"\t", b" ", b";", b"\n", b"\r", b"\r\n", b"\0", b"-1", b"0", b"400", b"1e3", b"9" * 40, b"9" * 5000, b'"', b"'", b"#",
    b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", "ü".encode(), "\u2028".encode(), "\u0663".encode(), b"\x85", b"\x1b[0m",
    b": ", b"- ", b"? ", b"| ", b"> ", b"! ", b"!!python/object:os.system ", b"&a ", b"*a ", b"<<: *a\n", b"%YAML 9.9\n",
    b"---\n", b"{", b"}", b"[", b"]", b"[" * 3000, b"{a: " * 3000, b"  ", b"\\ud800", b"\\", b"null", b"~", b".nan", b".inf",
    b"1_000", b"0x10", b"true", b"2147483648", b"9223372036854775808", b"x" * 10_000,
)  # fmt: skip


def read_text(job: tuple[str, str]) -> tuple[str, str]:
    """(GOOD, "") or ("refused", the reason) for a text of a kind of TEXTS; whatever is no refusal is raised."""
    kind, path = job
    try:
        READERS[kind.split()[0]](path, kind)
    except (ValueError, OSError) as error:
        return "refused", _reasons(error)
    return GOOD, ""


def _reasons(error: Exception) -> str:
    """The message; of several that a ConfigError holds, the worst."""
    lines = getattr(error, "problems", None) or [str(error)]
    kinds = (UnicodeError, json.JSONDecodeError, NotImplementedError)
    if type(error) not in (ValueError, FileNotFoundError, PermissionError) and isinstance(error, kinds):
        raise RuntimeError(f"{type(error).__name__} reached the caller: {error}") from error
    return max(lines, key=lambda line: len(line.splitlines()))


def _read_list(path: str, kind: str) -> None:
    from slowfast.datasets import annotations

    folders = annotations.lists_frame_folders(path)
    annotations.read_list(
        path, num_classes=400, multi_label=kind == "list labels", frame_folders=kind == "list frames"
    )
    annotations.read_list(path, num_classes=2**31, multi_label=True, frame_folders=folders)


def _read_names(path: str, kind: str) -> None:
    from slowfast.datasets import annotations

    "".join(annotations.read_class_names(path)).encode()


def _read_recipe(path: str, kind: str) -> None:
    from slowfast.config import load_cfg

    load_cfg(path)


READERS: dict[str, Callable[[str, str], None]] = {
    "list": _read_list,
    "names": _read_names,
    "recipe": _read_recipe,
}


def damage_texts(folder: Path, count: int, rng: np.random.Generator) -> list[Victim]:
    victims = []
    for number in range(count):
        kind = list(TEXTS)[number % len(TEXTS)]
        path = folder / f"{number:06d}-{kind.replace(' ', '-')}{'.json' if kind == 'names json' else '.txt'}"
        path.write_bytes(damaged_text(TEXTS[kind], TOKENS, rng))
        victims.append(Victim(path, kind, ""))
    return victims


# ----------------------------------------------------------------------------------------------------------
# Checkpoints
# ----------------------------------------------------------------------------------------------------------
CHECKPOINTS = ("sealed", "archive", "old", "pickle", "types")
_WRONG = (None, True, -1, 2**62, 1e308, float("nan"), "", "text", b"\0", [], [0], {}, {"a": 1}, (), {1: 2})


def state() -> dict[str, Any]:
    """The content of a checkpoint, as training saves it, of a model of one layer."""
    import torch

    layer = torch.nn.Linear(4, 3)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    return {
        "epoch": 1, "global_step": 5, "batch_in_epoch": 0, "model_state": layer.state_dict(), "cfg": "TRAIN:\n  ENABLE: true\n",
        "optimizer_state": optimizer.state_dict(), "class_names": ["a", "b", "c"], "best": {"top1": 12.5}, "dataset": "kinetics",
    }  # fmt: skip


def damage_checkpoints(folder: Path, count: int, rng: np.random.Generator) -> list[Victim]:
    """Sealed by us, archives and old files of torch, with damaged bytes; damaged pickles; wrong types in a sound file."""
    import torch

    from slowfast.utils import checkpoint

    checkpoint.save(state(), folder / "sound.pyth")
    archive, old = io.BytesIO(), io.BytesIO()
    torch.save(state(), archive)
    torch.save(state(), old, _use_new_zipfile_serialization=False)
    sound = {
        "sealed": (folder / "sound.pyth").read_bytes(),
        "archive": archive.getvalue(),
        "old": old.getvalue(),
    }
    victims = []
    for number in range(count):
        kind = CHECKPOINTS[number % len(CHECKPOINTS)]
        path = folder / f"{number:06d}-{kind}.pyth"
        if kind == "types":
            torch.save(_with_wrong_values(state(), rng), path)
        elif kind == "pickle":
            path.write_bytes(_with_damaged_pickle(archive.getvalue(), rng))
        else:
            everywhere = np.full(len(sound[kind]), containers.PAYLOAD)
            path.write_bytes(damaged(sound[kind], everywhere, containers.PAYLOAD, rng))
        victims.append(Victim(path, kind, ""))
    return victims


def _with_damaged_pickle(data: bytes, rng: np.random.Generator) -> bytes:
    """An archive of torch whose pickle is damaged, which its checksums do not tell."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as before,
        zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as after,
    ):
        for name in before.namelist():
            content = before.read(name)
            if name.endswith("data.pkl"):
                content = damaged(content, np.full(len(content), containers.PAYLOAD), containers.PAYLOAD, rng)
            after.writestr(name, content)
    return target.getvalue()


def _with_wrong_values(content: dict[str, Any], rng: np.random.Generator) -> Any:
    """The same with one to three values, at any depth, of another type or size, or without them."""
    for _ in range(int(rng.integers(1, 4))):
        holder = content
        while True:
            key = list(holder)[int(rng.integers(len(holder)))]
            inner = holder[key]
            if not isinstance(inner, dict) or not inner or rng.random() < 0.3:
                break
            holder = inner
        if rng.random() < 0.2 and len(holder) > 1:
            del holder[key]
        else:
            holder[key] = _wrong_value(rng)
    return content


def _wrong_value(rng: np.random.Generator) -> Any:
    import torch

    huge = torch.zeros(1).expand(2**40)  # claims 4 TiB and has 4 bytes
    wrong = (
        *_WRONG,
        huge,
        torch.zeros(0),
        torch.zeros(2, 2, dtype=torch.complex64),
        torch.tensor(float("nan")),
    )
    return wrong[int(rng.integers(len(wrong)))]


def read_checkpoint(path: str) -> tuple[str, str]:
    """(GOOD, "") or ("refused", the reason): the file is read, and its weights go into a model."""
    import torch

    from slowfast.models import pretrained
    from slowfast.utils import checkpoint

    try:
        payload = checkpoint.load(path)
        pretrained.fit(payload, torch.nn.Linear(4, 3))
    except (ValueError, OSError) as error:
        # A misfit of weights is a table by design; its first line says what is wrong.
        return "refused", str(error).splitlines()[0] if "payload" in locals() else str(error)
    checkpoint.newest(Path(path).parent / "none")
    return GOOD, ""


# ----------------------------------------------------------------------------------------------------------
# The campaign
# ----------------------------------------------------------------------------------------------------------
def judge_texts(victims: Sequence[Victim], limits: Limits) -> Iterator[tuple[Victim, Outcome]]:
    jobs = [(victim.origin, str(victim.path)) for victim in victims]
    for number, outcome in run_isolated(read_text, jobs, processes=1, limits=limits):
        yield victims[number], outcome


def judge_checkpoints(victims: Sequence[Victim], limits: Limits) -> Iterator[tuple[Victim, Outcome]]:
    jobs = [str(victim.path) for victim in victims]
    for number, outcome in run_isolated(read_checkpoint, jobs, processes=1, limits=limits):
        yield victims[number], outcome


class Tally:
    """Outcomes counted by what the file was, where it was hit and what came of it; faults and ends by name."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], Counter] = defaultdict(Counter)
        self.reasons: Counter = Counter()
        self.named: list[str] = []
        self.num_faults = 0

    def add(self, victim: Victim, outcome: Outcome, keep: Path) -> None:
        kind, reason = kind_of(outcome), reason_of(outcome)
        self.counts[victim.origin, victim.region][kind] += 1
        self.num_faults += kind == "fault"
        if kind in ENDED or kind == "fault":
            self.named.append(f"{kind}: {victim.path.name}: {reason[:300]!r}")
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(victim.path, keep)
        elif reason:
            self.reasons[
                "".join("0" if c.isdigit() else c for c in reason.replace(str(victim.path), "FILE"))[:110]
            ] += 1

    def table(self) -> str:
        """A line for each file and region, then for each region, then for all."""
        regions = {region for _, region in self.counts}
        rows = [(*key, counts) for key, counts in sorted(self.counts.items())]
        rows += [("all", region, self._sum(region)) for region in containers.REGIONS if region in regions]
        rows.append(("all", "", self._sum(None)))
        lines = [f"| file | region | files | {' | '.join(KINDS)} |", "| --- " * (3 + len(KINDS)) + "|"]
        for origin, region, counts in rows:
            numbers = " | ".join(str(counts[kind]) for kind in KINDS)
            lines.append(f"| {origin} | {region} | {counts.total()} | {numbers} |")
        return "\n".join(lines)

    def told(self) -> str:
        """The most frequent reasons, and all ends and faults."""
        shown = [f"{count:6d} x {reason}" for reason, count in self.reasons.most_common(_REASONS_SHOWN)]
        return "\n".join([*shown, f"{len(self.reasons)} kinds of reasons", *self.named])

    def _sum(self, region: str | None) -> Counter:
        return sum(
            (counts for (_, where), counts in self.counts.items() if region in (None, where)), Counter()
        )


def tally(judged: Iterator[tuple[Victim, Outcome]], keep: Path) -> tuple[Tally, list[Victim]]:
    """All outcomes counted, and the files with which a process ended."""
    found, ended = Tally(), []
    for victim, outcome in judged:
        found.add(victim, outcome, keep)
        if kind_of(outcome) in ENDED:
            ended.append(victim)
    return found, ended


def run_videos(out: Path, count: int, seed: int, media: Sequence[Path], limits: Limits) -> int:
    """The campaign of videos; returns the number of faults."""
    rng = np.random.default_rng(seed)
    sound, folder = out / "sound", out / "videos"
    for path in (sound, folder):
        path.mkdir(parents=True, exist_ok=True)
    victims = damage_videos(sound_videos(sound, rng), media_videos(media), folder, count, rng)
    found, ended = tally(judge_videos(victims, limits), out / "kept")
    print(f"\nVideos, decoded in isolation\n\n{found.table()}\n\n{found.told()}", flush=True)
    share = list(dict.fromkeys([*victims[::_LOADER_EVERY], *ended]))
    counts, faults = through_loader(share, out / "loader", limits.seconds)
    told = ", ".join(f"{kind} {counts[kind]}" for kind in KINDS[:5])
    print(
        f"\n{len(share)} of them through the loader, one worker: {told}; {len(faults)} faults",
        *faults,
        sep="\n",
        flush=True,
    )
    return found.num_faults + len(faults)


def run_others(what: str, out: Path, count: int, seed: int, limits: Limits) -> int:
    """The campaign of texts or checkpoints; returns the number of faults."""
    make, judge = {
        "texts": (damage_texts, judge_texts),
        "checkpoints": (damage_checkpoints, judge_checkpoints),
    }[what]
    folder = out / what
    folder.mkdir(parents=True, exist_ok=True)
    found, _ = tally(judge(make(folder, count, np.random.default_rng(seed)), limits), out / "kept")
    print(f"\n{what.capitalize()}, read in isolation\n\n{found.table()}\n\n{found.told()}", flush=True)
    return found.num_faults


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/fuzz"), help="folder for what is made and kept (runs/fuzz)"
    )
    parser.add_argument("--videos", type=int, default=5000, help="damaged videos (5000)")
    parser.add_argument(
        "--texts", type=int, default=3000, help="damaged lists, class names and recipes (3000)"
    )
    parser.add_argument("--checkpoints", type=int, default=1000, help="damaged checkpoints (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (0)")
    parser.add_argument(
        "--media", type=Path, nargs="*", default=[], help="folders of sound videos, to be damaged as well"
    )
    parser.add_argument("--seconds", type=float, default=30, help="for one file (30)")
    parser.add_argument("--memory-gb", type=float, default=1, help="for one file (1)")
    args = parser.parse_args()
    limits = Limits(args.seconds, args.memory_gb)
    print(f"PyAV {av.__version__}, seed {args.seed}", flush=True)
    faults = run_videos(args.out, args.videos, args.seed, args.media, limits) if args.videos else 0
    for what, count in (("texts", args.texts), ("checkpoints", args.checkpoints)):
        faults += run_others(what, args.out, count, args.seed, limits) if count else 0
    print(f"\n{faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
