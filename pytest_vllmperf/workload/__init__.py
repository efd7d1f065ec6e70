"""What is sent, when, and from which seed."""

from pytest_vllmperf.workload.arrivals import CLOSED, Arrivals
from pytest_vllmperf.workload.lengths import Length
from pytest_vllmperf.workload.request import NOTHING_ASKED, Asked, Message, Request
from pytest_vllmperf.workload.workload import Workload

__all__ = ["CLOSED", "NOTHING_ASKED", "Arrivals", "Asked", "Length", "Message", "Request", "Workload"]
