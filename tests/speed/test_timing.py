"""How to time: the order of the turns, what counts, and what is made of it."""

from types import SimpleNamespace

import pytest
import torch

from resnest_edu.speed.timing import (
    Timing,
    _sum_by_name,
    captured,
    fast_convolutions,
    interleave,
    kind_of,
    seconds_by_kind,
    summarize_rounds,
)
from tests.refused import assert_refused

CPU = torch.device("cpu")


def test_median_and_quartiles():
    assert summarize_rounds([5.0, 1.0, 2.0, 4.0, 3.0]) == Timing(median=3.0, low=2.0, high=4.0, rounds=5)
    assert summarize_rounds([1.0, 3.0]) == Timing(median=2.0, low=1.5, high=2.5, rounds=2)


def test_one_round_has_no_spread():
    with pytest.raises(
        ValueError, match=r"^seconds \(=\[1.0\]\) must be of at least two rounds, or there is no spread$"
    ):
        summarize_rounds([1.0])


def test_turns_go_forwards_and_backwards_and_the_first_round_warms_up():
    now, order = [0.0], []
    durations = {"a": iter([90.0, 1.0, 3.0, 2.0]), "b": iter([90.0, 20.0, 40.0, 80.0])}

    def call(name):
        order.append(name)
        now[0] += next(durations[name])

    calls = {name: lambda name=name: call(name) for name in "ab"}
    timings = interleave(calls, CPU, rounds=3, repeats=1, clock=lambda: now[0])
    assert "".join(order) == "abbaabba"
    assert timings == {"a": Timing(2.0, 1.5, 2.5, 3), "b": Timing(40.0, 30.0, 60.0, 3)}


def test_a_round_is_the_mean_of_its_repeats():
    now, order = [0.0], []

    def call(name):
        order.append(name)
        now[0] += len(order)

    timings = interleave(
        {"a": lambda: call("a"), "b": lambda: call("b")}, CPU, rounds=2, repeats=2, clock=lambda: now[0]
    )
    assert "".join(order) == "aabbbbaaaabb"
    assert timings["a"].median == ((7 + 8) / 2 + (9 + 10) / 2) / 2


def test_rounds_and_repeats_unless_told_otherwise():
    order = []
    timings = interleave({"a": lambda: order.append("a")}, CPU)
    assert timings["a"].rounds == 15
    assert len(order) == 16 * 5


def test_too_few():
    rows = [
        ({"rounds": 0}, r"^rounds \(=0\) must be an integer of at least 1$"),
        ({"rounds": 1}, r"^rounds \(=1\) must be at least 2, or there is no spread$"),
        ({"repeats": 0}, r"^repeats \(=0\) must be an integer of at least 1$"),
    ]
    assert_refused(lambda given: interleave({}, CPU, **given), rows)


def test_nothing_to_capture_on_the_cpu():
    call = object()
    assert captured(call, CPU) is call


def event(name: str, start: float, end: float, device: str = "CUDA", annotation: bool = False) -> SimpleNamespace:
    kind = getattr(torch.autograd.DeviceType, device)
    span = SimpleNamespace(elapsed_us=lambda: end - start)
    return SimpleNamespace(name=name, device_type=kind, is_user_annotation=annotation, time_range=span)


def test_kernels_are_summed_by_name_and_neither_the_host_nor_annotations_count():
    events = [
        event("one", 0, 3),
        event("two", 3, 4),
        event("one", 5, 10),
        event("one", 0, 99, device="CPU"),
        event("step", 0, 99, annotation=True),
    ]
    assert _sum_by_name(events, 2) == pytest.approx({"one": 4e-6, "two": 0.5e-6})


def test_kinds_of_kernels():
    kinds = [
        ("triton_poi_fused_convolution_3", "triton"),
        ("void at::native::elementwise_kernel<direct_copy_kernel_cuda>", "copy"),
        ("Memcpy DtoD (Device -> Device)", "copy"),
        ("void at::native::CatArrayBatchedCopy_aligned16_contig", "copy"),
        ("void cudnn::ops::nchwToNhwcKernel<__nv_bfloat16>", "copy"),
        ("void cudnn::ops::nhwcToNchwKernel<__nv_bfloat16>", "copy"),
        ("sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x128x64", "convolution"),
        ("sm80_dgrad_engine", "convolution"),
        ("wgrad2d_kernel", "convolution"),
        ("winograd_nonfused", "convolution"),
        ("void cutlass::Kernel2<tensorop_bf16_s16816>", "convolution"),
        ("cudnn_generated_fort_native", "convolution"),
        ("void at::native::conv_depthwise2d_forward_kernel_generic", "convolution"),
        ("nvjet_tst_64x32_64x16", "convolution"),
        ("ampere_gemm_64x64", "convolution"),
        ("void at::native::batch_norm_transform", "other"),
        ("void at::native::avg_pool2d_out_cuda_frame_nhwc", "other"),
    ]
    assert [(kernel, kind_of(kernel)) for kernel, _ in kinds] == kinds


def test_seconds_by_kind():
    kernels = {"triton_red_fused_0": 1.0, "triton_per_fused_1": 2.0, "Memset": 4.0, "xmma": 8.0}
    assert seconds_by_kind(kernels) == {"triton": 3.0, "copy": 0.0, "convolution": 8.0, "other": 4.0}


def test_algorithms_are_tried_only_on_cuda_and_the_setting_is_restored():
    before = torch.backends.cudnn.benchmark
    for kind in ("cuda", "cpu"):
        with fast_convolutions(torch.device(kind)):
            assert torch.backends.cudnn.enabled
            assert torch.backends.cudnn.benchmark is (kind == "cuda")
        assert torch.backends.cudnn.benchmark is before
