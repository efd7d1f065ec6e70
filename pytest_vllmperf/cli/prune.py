"""`vllmperf baseline prune`: old sessions, and files whose test module is gone."""

from __future__ import annotations

import json
from pathlib import Path

from pytest_vllmperf.errors import BaselineError, SpecError
from pytest_vllmperf.storage.baselines import BaselineStore, Changes


def prune(folder: Path, keep: int, rootdir: Path, *, dry_run: bool, as_json: bool) -> str:
    """Keep the newest sessions of each check, and delete files whose test module does not exist.

    Checks of tests that are gone from a module that still exists are known to pytest alone: an update of the whole
    module takes them out.

    Args:
        folder: of the baselines.
        keep: sessions of each check to keep, at least one.
        rootdir: where the test modules are, as their paths begin in a node id.
        dry_run: only say what would be done.
        as_json: for a program.

    Raises:
        SpecError: for a number of sessions that leaves none.
        BaselineError: for a folder that does not exist, or a file that cannot be read, written or deleted.
    """
    if keep < 1:
        raise SpecError(f"--keep: {keep} would leave no session; keep at least 1")
    if not folder.is_dir():
        raise BaselineError(f"{folder}: there is no such folder; name it with --baselines")
    store = BaselineStore(folder)
    done: list[str] = []
    for profile, module in store.modules():
        path = store.path(profile, f"{module}.py")
        if not (rootdir / f"{module}.py").exists():
            done.append(f"{path}: its test module does not exist below {rootdir.resolve().name}/; deleted")
            if not dry_run:
                _delete(path)
        else:
            done += _shorten(store, profile, module, keep, dry_run=dry_run)
    if as_json:
        return json.dumps({"dry_run": dry_run, "done": done}, indent=1)
    return "\n".join([*done, *(["nothing was changed: --dry-run"] if dry_run else [])]) or "nothing to prune"


def _shorten(store: BaselineStore, profile: str, module: str, keep: int, *, dry_run: bool) -> list[str]:
    entries = store.read(profile, f"{module}.py").tests
    long = {name: entry for name, entry in entries.items() if len(entry.sessions) > keep}
    if long and not dry_run:
        shorter = {name: e.model_copy(update={"sessions": e.sessions[-keep:]}) for name, e in long.items()}
        store.write(profile, f"{module}.py", Changes(entries=shorter))
    path = store.path(profile, f"{module}.py")
    return [f"{path}: {name}: {len(e.sessions) - keep} of {len(e.sessions)} sessions" for name, e in long.items()]


def _delete(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise BaselineError(f"{path}: not deleted: {error.strerror}") from None
