"""Kernel tables of several ranks and engines as one."""

from __future__ import annotations

import pytest

from pytest_vllmperf.metrics.kernel_sums import kernel_sums, no_device_pass
from pytest_vllmperf.records.kernels import KernelTime
from tests.profiling import FLASH, MATMUL, NORM, ROPE, profiled, slower, table, unprofiled


def test_ranks_are_added_and_engines_averaged() -> None:
    one, two = profiled(table(FLASH, NORM), table(FLASH)), profiled(table(slower(FLASH, 0.004)), table(FLASH))
    sums = kernel_sums([one, two])
    assert sums.engines == 2
    assert sums.of("flash_fwd") == KernelTime("flash_fwd", 3584, pytest.approx(2 * 0.1264 + 0.002))
    assert sums.of("rms_norm") == KernelTime("rms_norm", 17114, pytest.approx(0.02)), "one of two engines runs it"
    assert list(sums.named) == ["flash_fwd", "rms_norm"], "the largest first"
    assert sums.seconds == pytest.approx((one.kernels[0].seconds + one.kernels[1].seconds + 2 * 0.1264 + 0.004) / 2)


def test_engines_without_a_table_do_not_count() -> None:
    sums = kernel_sums([unprofiled(), profiled(table(FLASH))])
    assert (sums.engines, sums.of("flash_fwd")) == (1, FLASH)
    assert kernel_sums([unprofiled()]).engines == 0
    assert kernel_sums([]).seconds == 0


def test_tables_without_a_rest_hide_nothing() -> None:
    sums = kernel_sums([profiled(table(FLASH)), profiled(table(MATMUL))])
    assert (sums.most_hidden("flash_fwd"), sums.most_hidden("unheard_of")) == (0, 0)


def test_what_a_rest_hides_is_no_larger_than_the_smallest_name_and_than_the_rest() -> None:
    wide, narrow = profiled(table(FLASH, ROPE, rest=0.5)), profiled(table(FLASH, MATMUL, rest=0.0004))
    sums = kernel_sums([wide, narrow])
    assert sums.most_hidden("flash_fwd") == 0, "both name it"
    assert sums.most_hidden("rope_kernel_v2") == pytest.approx(0.0004 / 2)
    assert sums.most_hidden("nvjet_sm90 72x64") == pytest.approx(0.0012 / 2)
    assert sums.most_hidden("unheard_of") == pytest.approx((0.0012 + 0.0004) / 2)
    assert sums.rest == KernelTime("others", 10, pytest.approx(0.5004 / 2))


def test_why_there_was_no_pass() -> None:
    assert no_device_pass([unprofiled("an older reason"), unprofiled("MIG"), unprofiled("")]) == "MIG"
    assert no_device_pass([unprofiled(), profiled(table(FLASH))]) == ""
    assert no_device_pass([]) == ""
