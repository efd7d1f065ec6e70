"""The trends of a run's checks, out of the user's history. Whatever goes wrong is one warning; the outcome stays."""

from __future__ import annotations

from pytest_vllmperf.errors import HistoryError, in_one_line
from pytest_vllmperf.history import opening
from pytest_vllmperf.records.redactor import Redactor
from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.records.trends import RunTrends


def trends_of(history: str, report: RunReport, redactor: Redactor) -> tuple[RunTrends, list[str]]:
    """The trends, and a warning where they are not known.

    Args:
        history: a file or URL.
        report: the run, whose texts hold no secrets any more.
        redactor: of this process; it learns the password of the URL.
    """
    try:
        redactor.learn_url(history)
        database = opening.opened(history)
        from pytest_vllmperf.history import of_run

        return of_run.trends_of(database, report), []
    except HistoryError as error:
        problem = redactor.text(str(error))
    except Exception as error:  # a fault of the report must not change the outcome of the run
        problem = redactor.text(in_one_line(error))
    return RunTrends("", None, problem=problem), [f"WARNING: --vllmperf-history: {problem}; reports have no trends"]
