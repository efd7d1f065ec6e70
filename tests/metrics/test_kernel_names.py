"""Short names of kernels, and the tables that are stored under them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.metrics.kernel_names import LONGEST, kernel_tables, short_name, table
from pytest_vllmperf.records.kernels import STORED_KERNELS, KernelTime, ProfiledIteration, RankUse
from pytest_vllmperf.records.run import RunResult

GEMM = (
    "void cutlass::device_kernel<cutlass::gemm::kernel::GemmUniversal<cute::tuple<int, int, int, int>, "
    "cutlass::gemm::collective::CollectiveMma<cutlass::gemm::MainloopSm90TmaGmma<7, cute::tuple<cute::C<1>, "
    "cute::C<2>, cute::C<1> > >, cute::tuple<cute::C<128>, cute::C<64>, cute::C<64> > > > >(Params)"
)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("nvjet_sm90_tst_64x72_64x13_4x1_v_bz_TNT", "nvjet_sm90_tst_64x72_64x13_4x1_v_bz_TNT"),
        ("Memcpy DtoH (Device -> Pageable)", "Memcpy DtoH (Device -> Pageable)"),
        ("void vllm::rms_norm_kernel<c10::Half, 8>(c10::Half*, int)", "rms_norm_kernel<Half, 8>"),
        ("void (anonymous namespace)::softmax(float*, int)", "softmax"),
        ("triton_poi_fused_4", "triton_poi_fused_4"),
        ("void at::native::elementwise_kernel<4, f(int)>(int, g)", "elementwise_kernel<4, f(int)>"),
        ("void cutlass::Kernel2<my::small_gemm<64, 64> >(Params)", "small_gemm<64, 64>"),
        ("void outer<(lambda)1>::operator()(int)", "outer<(lambda)1>::operator()"),
    ],
)
def test_what_says_which_kernel_it_is_stays(name: str, short: str) -> None:
    assert short_name(name) == short


def test_a_long_name_keeps_its_tile_and_a_digest_of_the_whole() -> None:
    short = short_name(GEMM)
    assert short.startswith("GemmUniversal 1x2x1x128x64x64 #")
    assert short != short_name(GEMM.replace("MainloopSm90TmaGmma<7", "MainloopSm90TmaGmma<8"))


def test_a_long_name_without_tiles_keeps_its_beginning() -> None:
    name = "void at::native::vectorized_elementwise_kernel<4, at::native::" + "Functor" * 12 + "<float> >(int)"
    short = short_name(name)
    assert short.startswith("vectorized_elementwise_kernel<4, Functor")
    assert len(short) == LONGEST
    assert short == short_name(name)


@given(st.text(max_size=300))
def test_any_text_has_a_short_name(name: str) -> None:
    assert len(short_name(name)) <= max(LONGEST, len(name) if name.startswith(("Memcpy", "Memset")) else 0)


def use(*kernels: KernelTime) -> RankUse:
    return RankUse(count=1, total=1.0, busy=1.0, span=1.0, kernels=kernels)


RESULT = RunResult((), (), None, None, None, None, None, 0.0)


def test_a_table_holds_the_mean_of_all_iterations_by_rank() -> None:
    first = ProfiledIteration((use(KernelTime("void a(int)", 2, 0.2)), use(KernelTime("b", 1, 0.5))), RESULT)
    second = ProfiledIteration((use(KernelTime("a", 4, 0.4), KernelTime("c", 1, 0.9)), use()), RESULT)
    one, other = kernel_tables([first, second])
    assert one.kernels == [KernelTime("c", 0.5, 0.45), KernelTime("a", 3, 0.3)]
    assert other.kernels == [KernelTime("b", 0.5, 0.25)]
    assert one.rest is None
    assert kernel_tables([]) == []


def test_what_is_beyond_the_largest_is_kept_as_the_rest() -> None:
    made = table([KernelTime(f"k{n}", 1, 1.0 + n) for n in range(STORED_KERNELS + 3)], 1)
    assert [one.name for one in made.kernels[:2]] == [f"k{STORED_KERNELS + 2}", f"k{STORED_KERNELS + 1}"]
    assert len(made.kernels) == STORED_KERNELS
    assert made.rest == KernelTime("3 others", 3, 6.0)
    assert made.seconds == pytest.approx(sum(1.0 + n for n in range(STORED_KERNELS + 3)))
