"""Numbers of things, in words."""


def counted(number: int, one: str, several: str = "") -> str:
    """1, "video" → "1 video"; 2, "video" → "2 videos"; `several` is for nouns that do not take an s."""
    return f"{number} {one if number == 1 else several or one + 's'}"
