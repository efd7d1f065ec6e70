"""`GitHubJob`: what an armed run tells the job of GitHub Actions that it runs in: its summary, and annotations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_vllmperf.errors import VllmPerfError, in_one_line
from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.records.settings import Settings
from pytest_vllmperf.records.trends import RunTrends
from pytest_vllmperf.report import annotated
from pytest_vllmperf.report.pages import bounded, markdown
from pytest_vllmperf.storage import pages

SUMMARY: Final = "GITHUB_STEP_SUMMARY"
_LEAST: Final = 4_096
"""Bytes that a report needs at least."""


@dataclass(frozen=True)
class GitHubJob:
    """The job.

    Attributes:
        workspace: where the repository is checked out; None where nobody says.
        summary: the file of the step's summary; None without one.
        rootdir: of the run, from which files of tests are named.
    """

    workspace: Path | None
    summary: Path | None
    rootdir: Path

    @classmethod
    def found(cls, settings: Settings, environ: Mapping[str, str], rootdir: Path) -> GitHubJob | None:
        """The job that the run is in; None where it is in none, or is to tell it nothing.

        Args:
            settings: of the run.
            environ: of the process.
            rootdir: of the run.
        """
        if not settings.github or environ.get("GITHUB_ACTIONS") != "true":
            return None
        workspace, summary = environ.get("GITHUB_WORKSPACE"), environ.get(SUMMARY)
        return cls(Path(workspace) if workspace else None, Path(summary) if summary else None, rootdir)

    def commands(self, report: RunReport) -> list[str]:
        """The commands of its annotations, each a line that has to be printed as it is."""
        return [annotated.github(one, self._file(one.file)) for one in annotated.annotate(report)]

    def _file(self, file: str) -> str:
        """A file of the run from the root of the repository; empty where it is not in it."""
        if not file or self.workspace is None:
            return file
        path = Path(os.path.realpath(self.rootdir / file))
        root = Path(os.path.realpath(self.workspace))
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else ""

    def append(self, report: RunReport, trends: RunTrends | None = None) -> str:
        """Append the report to the step's summary; why that was not possible, in a line, empty where it was."""
        if self.summary is None:
            return ""
        try:
            room = bounded.STEP_SUMMARY - pages.size(self.summary) - len("\n")
            if room < _LEAST:
                return f"WARNING: {SUMMARY}: not written: the summary of this step is full"
            pages.append(self.summary, "\n" + markdown.document(report, room, trends))
        except OSError as error:
            return f"WARNING: {SUMMARY}: {self.summary}: not written: {error.strerror or error}"
        except VllmPerfError as error:
            return f"WARNING: {SUMMARY}: {error}"
        except Exception as error:  # a fault of the report must not change the outcome of the run
            return f"WARNING: {SUMMARY}: not written: {in_one_line(error)}"
        return ""
