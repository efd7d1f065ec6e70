"""A folder that is made whole or not at all.

Unlike a file it is never replaced: a folder cannot take the place of another in one step, and a finished checkpoint
stays. Its files are written into a folder beside, which is renamed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Give a new folder beside `folder`, which takes its name at the end; after an error nothing is left of it.

    Raises:
        OSError: when it cannot be made or renamed.
    """
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
