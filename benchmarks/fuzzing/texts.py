"""Damaged video lists, class names and recipes, and what their readers say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from fuzzing.damaging import damaged_text
from fuzzing.outcomes import GOOD, Victim
from fuzzing.videos import DEBUG_RECIPE
from slowfast.config import get_cfg, load_cfg
from slowfast.config.node import leaves
from slowfast.datasets import annotations
from slowfast.utils.isolation import Limits, Outcome, run_isolated

TEXTS = {
    "list comma": b"abseiling/a b.mp4,0\nzumba/b,c.avi,399\n/media/c.webm,17\n",
    "list tab": b"\xef\xbb\xbfabseiling/a.mp4\t0\r\nzumba/b.avi\t399\r\n",
    "list space": "abseiling/a b.mp4 0\n\nzumba/ü.avi 399\n".encode(),
    "list labels": b"a.mp4,3;17;42\nb.mp4,0\nc.mp4,399;1\n",
    "list frames": b"1 54 0\n2 90 173\nsome folder 1 399\n",
    "names txt": b"abseiling\nair drumming\nzumba\n",
    "names json": b'{"abseiling": 0, "air drumming": "1", "zumba": 2}',
    "recipe": DEBUG_RECIPE.read_bytes(),
    "recipe values": b"",  # made up anew each time
}
TOKENS = (
    b",", b"\t", b" ", b";", b"\n", b"\r", b"\r\n", b"\0", b"-1", b"0", b"400", b"1e3", b"9" * 40, b"9" * 5000, b'"',
    b"'", b"#", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", "ü".encode(), "\u2028".encode(), "\u0663".encode(),
    b"\x85", b"\x1b[0m", b": ", b"- ", b"? ", b"| ", b"> ", b"! ", b"!!python/object:os.system ", b"&a ", b"*a ",
    b"<<: *a\n", b"%YAML 9.9\n", b"---\n", b"{", b"}", b"[", b"]", b"[" * 3000, b"{a: " * 3000, b"  ", b"\\ud800",
    b"\\n", b"\\", b"null", b"~", b".nan", b".inf", b"1_000", b"0x10", b"true", b"2147483648",
    b"9223372036854775808", b"x" * 10_000,
)  # fmt: skip


ODD_VALUES = (
    "0", "-1", "1", "2", "3", "0.5", "1e400", "-0.0", "nan", "inf", "1e18", "2147483648", "9" * 5000, "''", "null",
    "True", "off", "x", "../x", '"\\0"', "[]", "[0]", "[1, 2]", "[0.5, 0.5, 0.5]", "[1, 1, 1, 1]", "[[1], [2]]", "{}",
)  # fmt: skip


def odd_recipe(rng: np.random.Generator) -> bytes:
    """A recipe that gives one to four of all keys odd values."""
    keys = [key for key, _ in leaves(get_cfg())]
    tree: dict = {}
    for key in rng.choice(keys, int(rng.integers(1, 5)), replace=False).tolist():
        *path, name = key.split(".")
        section = tree
        for part in path:
            section = section.setdefault(part, {})
        section[name] = ODD_VALUES[int(rng.integers(len(ODD_VALUES)))]
    return _flow(tree).encode()


def _flow(tree: dict | str) -> str:
    """YAML in one line; texts stand as they are."""
    if isinstance(tree, str):
        return tree
    return "{" + ", ".join(f"{name}: {_flow(value)}" for name, value in tree.items()) + "}"


def read_text(job: tuple[str, str]) -> tuple[str, str]:
    """(GOOD, "") or ("refused", the reason) for a text of a kind of TEXTS; whatever is no refusal is raised."""
    kind, path = job
    try:
        READERS[kind.split()[0]](path, kind)
    except (ValueError, OSError) as error:
        return "refused", _reason(error)
    return GOOD, ""


def _reason(error: ValueError | OSError) -> str:
    """The message; of several, the one of most lines. Raises RuntimeError for words that are not ours."""
    if isinstance(error, (UnicodeError, json.JSONDecodeError)) or "int_max_str_digits" in str(error):
        raise RuntimeError(f"{type(error).__name__} reached the caller: {error}") from error
    lines = getattr(error, "problems", None) or [str(error)]
    return max(lines, key=lambda line: len(line.splitlines()))


def _read_list(path: str, kind: str) -> None:
    folders = annotations.lists_frame_folders(path)
    annotations.read_list(
        path, num_classes=400, multi_label=kind == "list labels", frame_folders=kind == "list frames"
    )
    annotations.read_list(path, num_classes=2**31, multi_label=True, frame_folders=folders)


def _read_names(path: str, kind: str) -> None:
    "".join(annotations.read_class_names(path)).encode()


def _read_recipe(path: str, kind: str) -> None:
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
        odd = kind == "recipe values"
        path.write_bytes(odd_recipe(rng) if odd else damaged_text(TEXTS[kind], TOKENS, rng))
        victims.append(Victim(path, kind, ""))
    return victims


def judge_texts(victims: Sequence[Victim], limits: Limits) -> Iterator[tuple[Victim, Outcome]]:
    jobs = [(victim.origin, str(victim.path)) for victim in victims]
    for number, outcome in run_isolated(read_text, jobs, processes=1, limits=limits):
        yield victims[number], outcome
