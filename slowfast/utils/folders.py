"""Making folders, with an error that says what is in the way."""

from __future__ import annotations

import os
from pathlib import Path


def make_folder(path: str | os.PathLike) -> Path:
    """The folder, made with those above it where it is missing. Raises NotADirectoryError if a file is in its place."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        file = next((place for place in (folder, *folder.parents) if place.is_file()), folder)
        raise NotADirectoryError(
            f"{folder} cannot be the folder of a run (OUTPUT_DIR): {file} is a file; name another folder"
        ) from error
    return folder
