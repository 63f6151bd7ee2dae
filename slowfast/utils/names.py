"""Names that different people spell differently."""


def normalised(name: str) -> str:
    """Letters and digits of a name without case: "hurling (sport)" and "Hurling_sport" become "hurlingsport"."""
    return "".join(filter(str.isalnum, name.casefold()))
