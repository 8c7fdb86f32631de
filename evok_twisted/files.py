"""Files that are replaced as a whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_file(file: Path, text: str, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Replace ``file``, so that it has the old content or the new at any time, whenever the power goes.

    A symbolic link stays one; the file that it leads to is replaced. What a save that was killed left behind is written
    over by the next: it always has the same name.

    :param owner: numbers of the user and the group that it is to be of; else, who writes it.
    :raises OSError: it has the old one.
    """
    file = Path(os.path.realpath(file))
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(handle, "w", encoding="utf-8") as written:
            written.write(text)
            os.fchmod(handle, mode)
            if owner is not None:
                os.fchown(handle, *owner)
            written.flush()
            os.fsync(handle)
        os.replace(temporary, file)
    except OSError:
        os.unlink(temporary)
        raise
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
