"""Measurement against baseline, and engine against engine. Pure: no engine, no file, no clock."""

from pytest_vllmperf.records.verdict import MetricVerdict, Noise, Outlook, Status, Verdict
from pytest_vllmperf.verdict.check import Evidence, judge
from pytest_vllmperf.verdict.comparison import Claim, ClaimOutcome, Comparison, compare
from pytest_vllmperf.verdict.decision import Case, Decision, assess, judge_case, judge_cases, judge_paired
from pytest_vllmperf.verdict.exact import ExactDecision, judge_exact
from pytest_vllmperf.verdict.outlook import outlook
from pytest_vllmperf.verdict.rule import (
    CODES,
    STATUSES,
    Course,
    Outcome,
    RuleSettings,
    family_a_fail,
    look,
    look_at_pairs,
    run_course,
)
from pytest_vllmperf.verdict.settings import VerdictSettings

__all__ = [
    "CODES",
    "STATUSES",
    "Case",
    "Claim",
    "ClaimOutcome",
    "Comparison",
    "Course",
    "Decision",
    "Evidence",
    "ExactDecision",
    "MetricVerdict",
    "Noise",
    "Outcome",
    "Outlook",
    "RuleSettings",
    "Status",
    "Verdict",
    "VerdictSettings",
    "assess",
    "compare",
    "family_a_fail",
    "judge",
    "judge_case",
    "judge_cases",
    "judge_exact",
    "judge_paired",
    "look",
    "look_at_pairs",
    "outlook",
    "run_course",
]
