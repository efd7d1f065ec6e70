"""What is sent, and from which seed."""

from pytest_vllmperf.workload.workload import Length, Message, Request, Workload

__all__ = ["Length", "Message", "Request", "Workload"]
