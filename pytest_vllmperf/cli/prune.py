"""`vllmperf baseline prune`: sessions that are not needed, and files whose test module is gone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_vllmperf.errors import BaselineError, SpecError
from pytest_vllmperf.records import ids
from pytest_vllmperf.stats import ANCHOR_SESSIONS
from pytest_vllmperf.storage.baselines import FEWEST_KEPT, PRUNED_LIMIT, BaselineStore, Changes, load, module_exists


@dataclass(frozen=True)
class Step:
    """What is done to one file.

    Attributes:
        lines: what it is, in words.
        do: does it.
    """

    lines: Sequence[str]
    do: Callable[[], object]


@dataclass(frozen=True)
class Pruning:
    """What is to be done to the files of one folder.

    Attributes:
        steps: in the order of the files.
        left: damaged files, which stay as they are, and what is wrong with them.
    """

    steps: Sequence[Step] = ()
    left: Sequence[str] = field(default_factory=tuple)

    def do(self) -> None:
        """Change the files.

        Raises:
            BaselineError: when one cannot be written or deleted; those before it are done.
        """
        for step in self.steps:
            step.do()

    def lines(self) -> list[str]:
        """All that is to be done, in words."""
        return [line for step in self.steps for line in step.lines]

    def as_text(self) -> str:
        """For a person."""
        return "\n".join([*self.lines(), *(f"unchanged: {line}" for line in self.left)]) or "nothing to prune"

    def as_json(self, *, changed: bool) -> str:
        """For a program.

        Args:
            changed: whether it was done.
        """
        return json.dumps({"changed": changed, "steps": self.lines(), "left": list(self.left)}, indent=1)


def plan(folder: Path, keep: int, rootdir: Path) -> Pruning:
    """Keep the first and the newest sessions of each check, and delete files whose test module does not exist.

    Only baseline files are looked at; files of other programs stay as they are. Checks of tests that are gone from a
    module that still exists are known to pytest alone: an update of the whole module takes them out.

    Args:
        folder: of the baselines.
        keep: sessions of each check to keep: those that its level is anchored to, and the newest.
        rootdir: where the test modules are, as their paths begin in a node id.

    Raises:
        SpecError: for a number of sessions that leaves not even these and the newest.
        BaselineError: for a folder that does not exist, or whose test modules do not exist: one of the two folders is
            wrong.
    """
    if keep < FEWEST_KEPT:
        raise SpecError(
            f"--keep: {keep} is too few: the first {ANCHOR_SESSIONS} sessions anchor the level, and the newest "
            f"is needed too. Keep at least {FEWEST_KEPT}, or start a new baseline: pytest --vllmperf-update"
        )
    if not folder.is_dir():
        raise BaselineError(f"{folder}: no such folder; name the folder of the baselines with --baselines")
    store = BaselineStore(folder)
    modules = store.modules()
    if modules and not any(module_exists(rootdir, module) for _, module in modules):
        raise BaselineError(
            f"{folder}: no test module of these baselines exists below {rootdir.resolve()}, so all files would "
            f"be deleted. Name the folder of the test modules with --rootdir, or delete the files yourself"
        )
    steps: list[Step] = []
    left: list[str] = []
    for profile, module in modules:
        try:
            steps += _steps(store, profile, module, keep, rootdir)
        except BaselineError as error:
            left.append(str(error))
    return Pruning(steps, left)


def _steps(store: BaselineStore, profile: str, module: str, keep: int, rootdir: Path) -> list[Step]:
    """What is done to one file; nothing where it is as it should be.

    Raises:
        BaselineError: for a file that is damaged.
    """
    path = store.path(profile, f"{module}.py")
    entries = load(path, PRUNED_LIMIT).tests
    if not module_exists(rootdir, module):
        words = f"{path}: its test module {ids.raw(module)}.py does not exist below {rootdir.resolve().name}/: deleted"
        return [Step([words], lambda: store.delete(path))]
    long = {name: len(entry.sessions) for name, entry in entries.items() if len(entry.sessions) > keep}
    if not long:
        return []
    between = f"between the first {ANCHOR_SESSIONS} and the newest {keep - ANCHOR_SESSIONS}"
    lines = [f"{path}: {name}: {count - keep} of {count} sessions removed, {between}" for name, count in long.items()]
    return [Step(lines, lambda: store.write(profile, f"{module}.py", Changes(keep=keep), PRUNED_LIMIT))]
