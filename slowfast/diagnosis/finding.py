"""What came of looking at one thing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """what was looked at; said: what was found; to_do: "" if that is well, else what to do about it."""

    what: str
    said: str
    to_do: str = ""

    def __str__(self) -> str:
        mark = "  OK " if not self.to_do else "TO DO"
        line = f"{mark}  {self.what}: {self.said}"
        return f"{line}\n         -> {self.to_do}" if self.to_do else line
