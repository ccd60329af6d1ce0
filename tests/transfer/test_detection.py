"""Detectors on a pyramid: anchors, levels and sizes follow it; a detector leaves Python and finds the same outside."""

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign

from resnest_edu.transfer.cascade import CascadeRoIHeads
from resnest_edu.transfer.detection import KINDS, ExportableDetector, create_detector
from tests.refused import assert_refused
from tests.transfer.small_pyramid import pictures, small_pyramid

SMALL = {"anchor_scale": 4, "head_width": 24}


def detector(kind: str = "faster", **options: object) -> nn.Module:
    torch.manual_seed(0)
    return create_detector(kind, small_pyramid(), 3, **SMALL | options)


def pyramid_with(strides: dict[str, int], channels: int = 2, **attributes: object) -> nn.Module:
    pyramid = nn.Identity()
    for name, value in {"strides": strides, "out_channels": channels, **attributes}.items():
        setattr(pyramid, name, value)
    return pyramid


def boxes_of_all_sizes(count: int, size: float) -> Tensor:
    corners = (torch.rand(count, 2, 2) ** 2 * size).sort(dim=1).values
    return corners.flatten(1) + torch.tensor([0.0, 0, 1, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_and_detects(kind) -> None:
    model, (images, targets) = detector(kind), pictures()
    losses = model(images, targets)
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.roi_heads.box_predictor.cls_score.out_features == 4  # and the background
    assert ("loss_mask" in losses) == ("mask" in kind)
    assert isinstance(model.roi_heads, CascadeRoIHeads) == ("cascade" in kind)
    for found, image in zip(model.eval()(images), images, strict=True):
        assert set(found["labels"].tolist()) <= {1, 2, 3}
        assert len(found["boxes"]) == len(found["labels"]) == len(found["scores"]) > 0
        if "mask" in kind:
            assert found["masks"].shape == (len(found["boxes"]), 1, *image.shape[1:])


PAPER = {f"P{level}": 2**level for level in range(2, 7)}


def test_on_the_paper_s_strides_anchors_have_its_sizes_and_boxes_come_from_its_levels() -> None:
    model = create_detector("mask", pyramid_with(PAPER), 3)
    assert model.rpn.anchor_generator.sizes == ((32,), (64,), (128,), (256,), (512,))
    assert model.rpn.anchor_generator.aspect_ratios == ((0.5, 1.0, 2.0),) * 5
    assert model.roi_heads.box_head.fc6.out_features == 1024
    torch.manual_seed(0)
    features = {f"P{level}": torch.randn(1, 2, 1024 >> level, 1024 >> level) for level in range(2, 7)}
    boxes, sizes = boxes_of_all_sizes(300, 1000), [(1024, 1024)]
    for side, pool in {7: model.roi_heads.box_roi_pool, 14: model.roi_heads.mask_roi_pool}.items():
        expected = MultiScaleRoIAlign(["P2", "P3", "P4", "P5"], side, 2)(features, [boxes], sizes)
        torch.testing.assert_close(pool(features, [boxes], sizes), expected, rtol=0, atol=0)
        assert set(pool.map_levels([boxes]).tolist()) == {0, 1, 2, 3}


def test_the_extra_level_has_anchors_only() -> None:
    strides = {"P2": 4, "P3": 8, "P4": 16}
    for extra, names in {True: ["P2", "P3"], False: ["P2", "P3", "P4"]}.items():
        model = create_detector("mask", pyramid_with(strides, extra_level=extra), 3)
        assert model.rpn.anchor_generator.sizes == ((32,), (64,), (128,))
        assert model.roi_heads.box_roi_pool.featmap_names == names
        assert model.roi_heads.mask_roi_pool.featmap_names == names
        assert model.transform.size_divisible == strides[names[-1]]


def test_images_keep_their_size_and_their_values() -> None:
    model, images = detector(), [torch.randn(3, 50, 70), torch.randn(3, 40, 33)]
    for mode in (True, False):
        batch, _ = model.train(mode).transform(images)
        assert batch.image_sizes == [(50, 70), (40, 33)]
        assert batch.tensors.shape == (2, 3, 64, 80)
        for image, found in zip(images, batch.tensors, strict=True):
            assert torch.equal(found[:, : image.shape[1], : image.shape[2]], image)
            assert found.count_nonzero() == image.count_nonzero()


def test_images_can_be_resized_and_boxes_come_back_in_their_pixels() -> None:
    model, image = detector(image_size=64, max_size=96), torch.randn(3, 50, 100)
    batch, [target] = model.transform([image], [{"boxes": torch.tensor([[10.0, 10, 50, 40]])}])
    assert batch.image_sizes == [(48, 96)]
    torch.testing.assert_close(target["boxes"], torch.tensor([[9.6, 9.6, 48, 38.4]]))
    assert model.transform([torch.randn(3, 32, 40)])[0].image_sizes == [(64, 80)]
    [found] = model.eval()([image])
    assert 96 < found["boxes"].max() <= 100


def test_options_go_to_torchvision() -> None:
    choice = {"box_score_thresh": 0.3, "box_batch_size_per_image": 7, "rpn_post_nms_top_n_test": 9}
    choice |= {"box_positive_fraction": 0.5, "box_nms_thresh": 0.2, "box_detections_per_img": 5}
    cascade = {"iou_thresholds": (0.4, 0.8), "box_weights": ((1, 1, 1, 1), (2, 2, 2, 2))}
    for kind, more in ("cascade", cascade), ("faster", {"box_fg_iou_thresh": 0.6}):
        model = detector(kind, **choice, **more)
        heads, sampler = model.roi_heads, model.roi_heads.fg_bg_sampler
        assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img) == (0.3, 0.2, 5)
        assert (sampler.batch_size_per_image, sampler.positive_fraction) == (7, 0.5)
        assert model.rpn._post_nms_top_n["testing"] == 9
        assert heads.proposal_matcher.high_threshold == (0.4 if kind == "cascade" else 0.6)
    stages = detector("cascade", **cascade).roi_heads.stages
    assert [stage.proposal_matcher.high_threshold for stage in stages] == [0.4, 0.8]
    assert [stage.box_coder.weights[0] for stage in stages] == [1, 2]
    for options, outputs in (({}, 4), ({"class_agnostic": False}, 16)):  # whether all classes share a box
        stages = detector("cascade", **options).roi_heads.stages
        assert [stage.box_predictor.bbox_pred.out_features for stage in stages] == [outputs] * 3


@pytest.mark.parametrize("kind", ["mask", "cascade"])
def test_autocast_does_not_reach_coordinates(kind) -> None:
    model, (images, targets) = detector(kind), pictures()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(images, targets)
        [found, _] = model.eval()(images)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    assert found["boxes"].dtype == found["scores"].dtype == torch.float32
    assert not torch.equal(found["boxes"], found["boxes"].bfloat16().float())
    proposals: list[Tensor] = []
    anchors: list[Tensor] = []
    model.roi_heads.register_forward_pre_hook(lambda module, arguments: proposals.extend(arguments[1]))
    model.rpn.anchor_generator.register_forward_hook(lambda module, arguments, found: anchors.extend(found))
    with torch.autocast("cpu", torch.bfloat16):
        model(images)
    assert len(proposals) == len(anchors) == 2
    assert all(boxes.dtype == torch.float32 for boxes in proposals + anchors)
    assert not all(torch.equal(boxes, boxes.bfloat16().float()) for boxes in proposals)


def export_by_tracing(model: nn.Module, example: Tensor, folder) -> object:
    traced = torch.jit.trace(model, (example,), check_trace=False)
    torch.jit.save(traced, folder / "traced.pt")
    return torch.jit.load(folder / "traced.pt")


def export_to_onnx(model: nn.Module, example: Tensor, folder) -> object:
    torch.onnx.export(model, (example,), folder / "model.onnx", dynamo=False, opset_version=17)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    return lambda image: map(torch.from_numpy, session.run(None, {session.get_inputs()[0].name: image.numpy()}))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "export"),
    [
        ("faster", export_to_onnx),
        ("cascade_mask", export_by_tracing),
        pytest.param("faster", export_by_tracing, marks=pytest.mark.slow),
        pytest.param("cascade_mask", export_to_onnx, marks=pytest.mark.slow),
    ],
)
@torch.no_grad()
def test_a_detector_finds_the_same_outside_of_python(kind, export, tmp_path) -> None:
    model = detector(kind, rpn_nms_thresh=0.2, box_detections_per_img=40)
    for name, parameter in model.roi_heads.named_parameters():
        if "cls_score" in name:  # so that no two boxes are equally likely
            parameter.mul_(20)
    images = [torch.randn(3, 64, 80) * scale for scale in (1, 2, 0.5)]
    proposals: set[int] = set()
    handle = model.roi_heads.register_forward_pre_hook(lambda module, arguments: proposals.add(len(arguments[1][0])))
    model.eval()(images[:1]), model(images[1:2]), model(images[2:])
    handle.remove()
    assert len(proposals) == 3  # so a number that the export takes for a constant is wrong
    model = ExportableDetector(model)
    exported = export(model, images[0], tmp_path)
    counts = set()
    for image in images:
        for wanted, found in zip(model(image), exported(image), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        counts.add(len(wanted))
    assert len(counts) > 1 or counts == {40}


def test_a_training_detector_is_not_exported() -> None:
    with pytest.raises(ValueError, match="detector must be in evaluation mode"):
        ExportableDetector(detector())


def test_bad_arguments() -> None:
    rows = [
        ({"kind": "slow"}, r"kind \(='slow'\) must be one of faster, mask"),
        ({"pyramid": nn.Identity()}, r"pyramid \(=Identity\) must have the attribute out_channels"),
        ({"pyramid": pyramid_with({"P2": 4})}, r"strides \(=\{'P2': 4\}\) must be two at least"),
        ({"num_classes": 0}, r"num_classes \(=0\)"),
        ({"image_size": 0}, r"image_size \(=0\)"),
        ({"image_size": 64.0}, r"image_size \(=64.0\)"),
        ({"max_size": 0}, r"max_size \(=0\)"),
        ({"anchor_scale": 0}, r"anchor_scale \(=0\)"),
        ({"head_width": 0}, r"head_width \(=0\)"),
        ({"box_score_tresh": 0.1}, r"option \(='box_score_tresh'\) must be one of box_batch"),
        ({"rpn_head": nn.Identity()}, r"option \(='rpn_head'\)"),
        ({"class_agnostic": True}, r"option \(='class_agnostic'\)"),
        ({"kind": "cascade", "box_fg_iou_thresh": 0.6}, r"option \(='box_fg_iou_thresh'\)"),
        ({"kind": "cascade", "iou_thresholds": (0.7, 0.6, 0.5)}, "iou_thresholds"),
        ({"kind": "cascade", "iou_thresholds": (0.5, 0.6)}, r"box_weights \(=3\)"),
        ({"kind": "cascade", "iou_thresholds": ()}, r"iou_thresholds \(=\(\)\) must"),
    ]
    usual = {"kind": "faster", "pyramid": pyramid_with({"P2": 4, "P3": 8}), "num_classes": 3}
    assert_refused(lambda given: create_detector(**(usual | given)), rows)
