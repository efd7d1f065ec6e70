"""`vllmperf baseline rename`: the stored checks of a test or module that has another name now."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_vllmperf.errors import BaselineError, SpecError, did_you_mean
from pytest_vllmperf.records.ids import CheckId, TestId, module_stem, writable
from pytest_vllmperf.records.samples import Entry
from pytest_vllmperf.storage.baselines import BaselineStore, Changes, load, module_exists


@dataclass(frozen=True)
class Move:
    """The checks of one profile that get another name.

    Attributes:
        profile: whose baselines.
        before: the module that they are stored for.
        after: the module that they are to be stored for.
        names: old name -> new name.
        entries: by their old names.
        arrived: old names of those that are stored under their new name already: a rename that was cut short.
    """

    profile: str
    before: str
    after: str
    names: Mapping[str, str]
    entries: Mapping[str, Entry]
    arrived: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Renaming:
    """All that is to be done in one folder.

    Attributes:
        store: the baselines.
        moves: one a profile.
        notes: for a person.
    """

    store: BaselineStore
    moves: Sequence[Move]
    notes: Sequence[str] = ()

    def do(self) -> None:
        """Change the files: all of them, or none.

        New names are written before old ones are removed, so that a run that is killed in between loses nothing; the
        same command then ends it.

        Raises:
            BaselineError: when a file cannot be written, or another program has changed it. What was written before is
                taken back.
        """
        undo: list[tuple[str, str, Changes]] = []
        try:
            for step in [*map(_arrival, self.moves), *map(_departure, self.moves)]:
                for profile, module, changes, back in step:
                    self.store.write(profile, module, changes)
                    undo.append((profile, module, back))
        except BaselineError as error:
            problems = self._take_back(undo)
            left = f"part of it is done and could not be taken back: {'; '.join(problems)}"
            raise BaselineError(f"{error}; {left if problems else 'nothing was renamed'}") from None

    def _take_back(self, undo: Sequence[tuple[str, str, Changes]]) -> list[str]:
        problems = []
        for profile, module, changes in reversed(undo):
            try:
                self.store.write(profile, module, changes)
            except BaselineError as error:
                problems.append(str(error))
        return problems

    def lines(self) -> list[str]:
        """What is renamed, in words."""
        return [
            f"{move.profile}: {_shown(move.before, old)} -> {_shown(move.after, new)}"
            for move in self.moves
            for old, new in move.names.items()
        ]

    def as_text(self) -> str:
        """For a person."""
        return "\n".join([*self.lines(), *self.notes])

    def as_json(self, *, changed: bool) -> str:
        """For a program.

        Args:
            changed: whether it was done.
        """
        renamed = [
            {"profile": move.profile, "from": _shown(move.before, old), "to": _shown(move.after, new)}
            for move in self.moves
            for old, new in move.names.items()
        ]
        return json.dumps({"changed": changed, "renamed": renamed, "notes": list(self.notes)}, indent=1)


_Step = list[tuple[str, str, Changes, Changes]]
"""Profile, module, what is written there, and what takes it back."""


def _arrival(move: Move) -> _Step:
    """The new names; with the old ones removed where both are in one file."""
    new = {move.names[old]: entry for old, entry in move.entries.items() if old not in move.arrived}
    back = Changes(removed=tuple(new), expected=new, or_nothing=True)
    if move.before != move.after:
        absent: dict[str, Entry | None] = dict.fromkeys(new)
        return [(move.profile, move.after, Changes(entries=new, expected=absent), back)] if new else []
    expected = {**move.entries, **dict.fromkeys(new)}
    changes = Changes(entries=new, removed=tuple(move.names), expected=expected)
    return [(move.profile, move.after, changes, Changes(entries=move.entries, removed=tuple(new)))]


def _departure(move: Move) -> _Step:
    """The old names taken out of a file that is another one; it is deleted where it holds nothing else."""
    if move.before == move.after:
        return []
    changes = Changes(removed=tuple(move.names), expected=move.entries, or_nothing=True)
    return [(move.profile, move.before, changes, Changes(entries=move.entries))]


def plan(folder: Path, old: str, new: str, rootdir: Path) -> Renaming:
    """What a renamed test or module means for the baselines of all profiles.

    Args:
        folder: of the baselines.
        old: node id of a module, class, test, one parametrised test, or a check (`TEST # NAME`), as it was.
        new: as it is now, of the same kind.
        rootdir: where the test modules are, as their paths begin in a node id.

    Raises:
        SpecError: for ids that are the same, or not of one kind.
        BaselineError: for a folder that does not exist, a file that cannot be read, an id of which nothing is stored,
            or a new name that has a baseline of its own.
    """
    before, after = _parsed("OLD", old), _parsed("NEW", new)
    _check_kinds(before, after)
    if not folder.is_dir():
        raise BaselineError(f"{folder}: no such folder; name the folder of the baselines with --baselines")
    store = BaselineStore(folder)
    profiles = [profile for profile, module in store.modules() if module == module_stem(writable(before.module))]
    found = [_move(store, profile, before, after) for profile in profiles]
    moves = [move for move in found if move.names]
    if not moves:
        raise BaselineError(f"{folder}: nothing is stored for {old}{_near(store, before)}")
    notes = []
    if not module_exists(rootdir, module_stem(writable(after.module))):
        notes.append(f"note: {after.module} does not exist below {rootdir.resolve().name}/")
    return Renaming(store, moves, notes)


def _parsed(which: str, text: str) -> TestId:
    """An id, with its module's path as pytest writes it."""
    found = TestId.parse(text)
    path = Path(found.module)
    if not path.suffix or path.is_absolute() or ".." in path.parts:
        raise SpecError(
            f"{which}: {text!r} is no node id; write it as pytest does, such as tests/test_chat.py or "
            f"tests/test_chat.py::test_long"
        )
    return TestId(path.as_posix(), found.name)


def _check_kinds(before: TestId, after: TestId) -> None:
    """See that one can be renamed into the other.

    Raises:
        SpecError: where not.
    """
    if before == after:
        raise SpecError("OLD and NEW are the same")
    if bool(before.name) != bool(after.name):
        raise SpecError("one of OLD and NEW names a module and the other a test; name two modules or two tests")
    if before.name.endswith("]") != after.name.endswith("]"):
        raise SpecError("one of OLD and NEW has parameters and the other has none; name both with or without")


def _move(store: BaselineStore, profile: str, before: TestId, after: TestId) -> Move:
    """What becomes of one profile's file.

    Raises:
        BaselineError: for a file that cannot be read, or a new name that is taken.
    """
    tests = store.read(profile, before.module).tests
    names = {name: new for name in tests if (new := _renamed(name, before, after)) is not None}
    path = store.path(profile, after.module)
    there = tests if before.module == after.module else load(path).tests
    taken = {old: there[new] for old, new in names.items() if new in there}
    elsewhere = there is not tests
    arrived = frozenset(old for old, entry in taken.items() if elsewhere and entry == tests[old])
    if others := [names[old] for old in taken if old not in arrived]:
        raise BaselineError(
            f"{path}: {others[0]!r} has a baseline of its own, which would be overwritten; nothing was renamed. "
            f"To keep the sessions of the old name, remove that entry from the file first"
        )
    return Move(profile, before.module, after.module, names, {old: tests[old] for old in names}, arrived)


def _renamed(name: str, before: TestId, after: TestId) -> str | None:
    """The new name of a stored check; None for one that keeps its own."""
    if not before.name:
        own = CheckId.parse(before.module, name)
        whole = own.test.name == before.module  # a file that is a test by itself is stored under its path
        return CheckId(TestId(after.module, ""), own.own).name if whole else name
    if name == before.name:
        return after.name
    rest = name.removeprefix(before.name)
    if rest == name or not rest.startswith(("[", "::", " # ")):
        return None
    return after.name + rest


def _near(store: BaselineStore, wanted: TestId) -> str:
    """The stored id that is spelled most alike, as the end of a message."""
    modules = [(profile, f"{module}.py") for profile, module in store.modules()]
    ids = {
        str(CheckId.parse(module, name).test)
        for profile, module in modules
        for name in store.read(profile, module).tests
    }
    return did_you_mean(str(wanted), sorted({*ids, *(module for _, module in modules)}))


def _shown(module: str, name: str) -> str:
    return module if name == module else f"{module}::{name}"
