"""Names of classes → their numbers, whatever the spelling of spaces, case and punctuation."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Sequence

from slowfast.utils.names import normalised

_SHOWN = 5  # unknown names told in one error


def names_alike(names: Sequence[str]) -> list[list[str]]:
    """Those of `names` that `normalised` makes equal, such as Pull_Up and pull up: groups of two or more."""
    groups = defaultdict(list)
    for name in names:
        groups[normalised(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


class ClassNumbers:
    """The numbers of class names: names[n] is class n, compared as `normalised` leaves them.

    Where that makes two of them equal, such as C and C++, all are compared as they are written. `source` names the file
    they come from, in errors. Raises ValueError if a name is there twice.
    """

    def __init__(self, names: Sequence[str], source: str):
        self.names, self.source = list(names), source
        self._key = normalised if len(set(map(normalised, self.names))) == len(self.names) else str.strip
        self._numbers = {self._key(name): number for number, name in enumerate(self.names)}
        if len(self._numbers) < len(self.names):
            written = [name.strip() for name in self.names]
            twice = next(name for name in written if written.count(name) > 1)
            raise ValueError(
                f"{source}: {twice!r} is there more than once; give each class a name of its own"
            )

    def number(self, found: Sequence[tuple[str, str]]) -> list[int]:
        """The numbers of (name, "file:line") pairs. Raises one ValueError for all unknown names, with the nearest."""
        unknown: dict[str, str] = {}
        for name, where in found:
            if self._key(name) not in self._numbers:
                unknown.setdefault(name, where)
        if unknown:
            raise ValueError(self._unknown(unknown, {self._key(name) for name, _ in found}))
        return [self._numbers[self._key(name)] for name, _ in found]

    def _unknown(self, unknown: dict[str, str], all_found: set[str]) -> str:
        lines = [
            f"{where}: unknown class {name!r}; nearest: {self._nearest(name)}"
            for name, where in list(unknown.items())[:_SHOWN]
        ]
        if len(unknown) > _SHOWN:
            lines.append(f"... and {len(unknown) - _SHOWN} more unknown classes")
        known = len(all_found & set(self._numbers))
        lines.append(
            f"{known} of {len(all_found)} classes are among the {len(self.names)} of {self.source}"
            + ("; is this the annotation of another data set?" if len(unknown) > _SHOWN or not known else "")
        )
        return "\n".join(lines)

    def _nearest(self, name: str) -> str:
        near = difflib.get_close_matches(self._key(name), self._numbers, n=3, cutoff=0.4)
        return ", ".join(repr(self.names[self._numbers[key]]) for key in near) or "none is alike"

    def require_order(self, names: Sequence[str], source: str) -> None:
        """Raise ValueError unless `names`, read from `source`, are these classes in this order."""
        self.number([(name, f"{source}:{line}") for line, name in enumerate(names, start=1)])
        for number, (name, own) in enumerate(zip(names, self.names, strict=False)):
            if self._key(name) != self._key(own):
                raise ValueError(
                    f"{source}: class {number} is {name!r} there and {own!r} in {self.source}; labels would not agree"
                )
        if len(names) != len(self.names):
            raise ValueError(f"{source}: {len(names)} classes; {self.source} has {len(self.names)}")
