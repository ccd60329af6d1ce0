"""Cascade R-CNN: with one stage it is Faster R-CNN; with more, each works on what the one before moved."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import maskrcnn_inference
from torchvision.ops import box_iou

from resnest_edu.transfer.cascade import CascadeRoIHeads, ClassAgnosticPredictor, move
from resnest_edu.transfer.detection import create_detector
from tests.refused import assert_refused
from tests.transfer.small_pyramid import pictures, small_pyramid

SMALL = {"anchor_scale": 4, "head_width": 24, "box_batch_size_per_image": 64, "rpn_post_nms_top_n_test": 200}
ONE = {"iou_thresholds": (0.5,), "box_weights": ((10, 10, 5, 5),)}
TRUTH = torch.tensor([[16.0, 16, 56, 56]])


def at_iou(*ious: float) -> Tensor:
    """Boxes of the truth's size beside it, overlapping it this much: IoU (1 - s) / (1 + s) at a shift of s widths."""
    return torch.stack([TRUTH[0] + 40 * (1 - iou) / (1 + iou) * torch.tensor([-1.0, 0, -1, 0]) for iou in ious])


def detector(kind: str, seed: int = 0, **options: object) -> nn.Module:
    torch.manual_seed(seed)
    return create_detector(kind, small_pyramid(), 3, **SMALL, **options)


def cascade(**options: object) -> CascadeRoIHeads:
    """The heads of a cascade of three stages for three classes."""
    return detector("cascade", **options).roi_heads


def features(images: int = 1) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {str(level - 2): torch.randn(images, 16, 96 // 2**level, 96 // 2**level) for level in (2, 3, 4)}


def still(heads: CascadeRoIHeads, *biases: float) -> CascadeRoIHeads:
    """Make every stage say the same of every box: offset ``bias`` to the right, class 1."""
    with torch.no_grad():
        for stage, bias in zip(heads.stages, biases or (0.0, 0.0, 0.0), strict=True):
            for layer in (stage.box_predictor.cls_score, stage.box_predictor.bbox_pred):
                layer.weight.zero_()
                layer.bias.zero_()
            stage.box_predictor.cls_score.bias[1] = 5
            stage.box_predictor.bbox_pred.bias[0::4] = bias
    return heads


def target(boxes: Tensor = TRUTH) -> dict[str, Tensor]:
    return {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64)}


def losses_and_gradients(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    images, targets = pictures()
    torch.manual_seed(2)
    losses = model.train()(images, targets)
    sum(losses.values()).backward()
    return losses, {name: parameter.grad for name, parameter in model.named_parameters()}


def assert_same(model: nn.Module, expected: nn.Module, shared: str = "") -> None:
    """They find the same and learn the same; layer ``shared`` stands for one of four times as many outputs."""
    images, _ = pictures()
    with torch.no_grad():
        pairs = zip(model.eval()(images), expected.eval()(images), strict=True)
    for found, wanted in pairs:
        assert len(wanted["boxes"]) > 20 and torch.equal(found["labels"], wanted["labels"])
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-5)
    (losses, gradients), (wanted_losses, wanted) = losses_and_gradients(model), losses_and_gradients(expected)
    for name in wanted:
        if shared and name.startswith(shared):
            wanted[name] = wanted[name].unflatten(0, (4, 4)).sum(dim=0)
    torch.testing.assert_close({name.removesuffix("_1"): loss for name, loss in losses.items()}, dict(wanted_losses))
    torch.testing.assert_close(gradients, wanted)


@pytest.mark.parametrize("kind", ["faster", "mask"])
def test_one_stage_is_torchvisions_detector(kind) -> None:
    expected = detector(kind)
    model = detector("cascade_mask" if kind == "mask" else "cascade", seed=1, class_agnostic=False, **ONE)
    model.load_state_dict(expected.state_dict())
    assert_same(model, expected)


def test_one_box_for_all_classes_is_the_same_box_for_each() -> None:
    expected, model = detector("faster"), detector("cascade", seed=1, **ONE)
    state, name = model.state_dict(), "roi_heads.box_predictor.bbox_pred"
    for part, times in {"weight": (4, 1), "bias": (4,)}.items():
        state[f"{name}.{part}"] = state[f"{name}.{part}"].repeat(times)
    expected.load_state_dict(state)
    assert_same(model, expected, name)


def test_each_stage_matches_by_its_own_threshold_and_only_the_first_adds_the_truth() -> None:
    boxes = at_iou(0.55, 0.65, 0.75, 0.3)
    assert box_iou(TRUTH, boxes)[0].tolist() == pytest.approx([0.55, 0.65, 0.75, 0.3])
    found = [stage.select_training_samples([boxes], [target()])[2][0].tolist() for stage in cascade().stages]
    assert found == [[1, 1, 1, 0, 1], [0, 1, 1, 0], [0, 0, 1, 0]]


def test_a_stage_learns_where_the_boxes_moved() -> None:
    """Stage 1 moves the box from -d to -d/2 and the truth from 0 to d/2, stage 2 no further, so both aim d/2 back."""
    d = (1 - 0.55) / (1 + 0.55)
    losses = still(cascade(), 10 * d / 2, 0, 0).learn(features(), [at_iou(0.55)], [(96, 96)], [target()])
    for number, weight in {2: 20, 3: 30}.items():
        expected = weight * d / 2 - 0.5 / 9  # smooth L1 beyond its quadratic part, the mean over two boxes
        assert losses[f"loss_box_reg_{number}"].item() == pytest.approx(expected, rel=1e-4)


def test_every_stage_moves_the_box_by_its_own_weights() -> None:
    heads = still(cascade(), 3, 3, 3).eval()
    [found] = heads.detect(features(), [TRUTH], [(96, 96)])
    shift = 40 * 3 * (1 / 10 + 1 / 20 + 1 / 30)
    torch.testing.assert_close(found["boxes"][:1], TRUTH + shift * torch.tensor([1.0, 0, 1, 0]))


def test_boxes_are_kept_in_the_image_at_every_stage() -> None:
    """To the right by two widths, and back: what was cut off on the way is gone."""
    heads = still(cascade(), 20, -40, 0).eval()
    moved = move(heads, [TRUTH], torch.zeros(1, 4), torch.tensor([[20.0, 0, 0, 0]] * 4).view(1, 16), [(96, 70)])
    assert moved[0].tolist() == [[70, 16, 70, 56]]
    assert not len(heads.detect(features(), [TRUTH], [(96, 70)])[0]["boxes"])


def test_the_likeliest_class_but_the_background_moves_the_box() -> None:
    logits = torch.tensor([[9.0, 1, 3, 2]])
    offsets = torch.zeros(1, 4, 4)
    offsets[0, :, 1] = torch.tensor([1.0, 2, 3, 4])
    [moved] = move(cascade(), [TRUTH], logits, offsets.flatten(1), [(96, 96)])
    torch.testing.assert_close(moved, TRUTH + 40 * 3 / 10 * torch.tensor([0.0, 1, 0, 1]))


def test_scores_are_the_mean_of_the_stages_probabilities() -> None:
    heads = still(cascade()).eval()
    torch.manual_seed(3)
    with torch.no_grad():
        for stage in heads.stages:
            stage.box_predictor.cls_score.bias.normal_(0, 2)
    mean = sum(stage.box_predictor.cls_score.bias.softmax(dim=0) for stage in heads.stages) / 3
    heads.score_thresh = 0.0
    [found] = heads.detect(features(), [TRUTH], [(96, 96)])
    assert sorted(found["labels"].tolist()) == [1, 2, 3]
    torch.testing.assert_close(found["scores"], mean[found["labels"]])


def test_no_gradient_goes_through_moved_boxes() -> None:
    heads, found = cascade(), features()
    losses = heads.learn(found, [at_iou(0.55, 0.65, 0.75)], [(96, 96)], [target()])
    (losses["loss_classifier_3"] + losses["loss_box_reg_3"]).backward()
    own = [heads.box_head, heads.box_predictor, heads.later[0]]
    assert all(parameter.grad is None for part in own for parameter in part.parameters())
    assert all(parameter.grad is not None for parameter in heads.later[1].parameters())


def test_features_get_a_third_of_the_gradient_and_heads_all_of_it() -> None:
    gradients = []
    for options in ({}, ONE):
        heads, maps = cascade(**options), features()
        still(heads, *[0.0] * len(heads.stages))
        torch.manual_seed(4)
        nn.init.normal_(heads.box_predictor.cls_score.weight)
        for part, parameter in enumerate(heads.box_head.parameters()):
            nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(part))
        maps["0"].requires_grad_()
        heads.learn(maps, [at_iou(0.55, 0.3)], [(96, 96)], [target()])["loss_classifier_1"].backward()
        gradients.append((maps["0"].grad, heads.box_head.fc6.weight.grad))
    (of_features, of_head), (alone, head_alone) = gradients
    assert alone.abs().max() > 0
    torch.testing.assert_close(of_features, alone / 3)
    torch.testing.assert_close(of_head, head_alone)


def test_masks_learn_from_the_first_stage_and_are_found_in_the_last_boxes() -> None:
    heads = still(detector("cascade_mask").roi_heads, 3, 3, 3)
    masks = torch.zeros(1, 96, 96, dtype=torch.uint8)
    masks[:, 16:56, 16:40] = 1
    three = heads.learn(features(), [at_iou(0.55)], [(96, 96)], [target() | {"masks": masks}])["loss_mask"]
    heads.later = nn.ModuleList()
    one = heads.learn(features(), [at_iou(0.55)], [(96, 96)], [target() | {"masks": masks}])["loss_mask"]
    assert three == one > 0

    heads = still(detector("cascade_mask").roi_heads, 3, 3, 3).eval()
    [found] = heads.detect(features(), [TRUTH], [(96, 96)])
    logits = heads.predict_masks(features(), [found["boxes"]], [(96, 96)])
    torch.testing.assert_close(found["masks"], maskrcnn_inference(logits, [found["labels"]])[0])
    assert found["boxes"][0, 0] > TRUTH[0, 0]


def test_images_without_proposals() -> None:
    heads, none, sizes = detector("cascade_mask").roi_heads, torch.zeros(0, 4), [(96, 96)] * 2
    mask = {"masks": torch.ones(1, 96, 96, dtype=torch.uint8)}
    empty = target(none) | {"masks": torch.zeros(0, 96, 96, dtype=torch.uint8)}
    for targets in ([target() | mask] * 2, [target() | mask, empty]):  # the truth joins the proposals
        losses = heads.learn(features(2), [none, none], sizes, targets)
        assert len(losses) == 7 and all(loss.isfinite() for loss in losses.values())
    for boxes in ([none, none], [TRUTH, none]):
        found = heads.eval().detect(features(2), boxes, sizes)
        shapes = {name: tuple(value.shape) for name, value in found[1].items()}
        assert shapes == {"boxes": (0, 4), "scores": (0,), "labels": (0,), "masks": (0, 1, 28, 28)}


def test_boxes_that_shrank_to_nothing_do_no_harm() -> None:
    heads = still(cascade(), 500, 0, 0)
    losses = heads.learn(features(), [at_iou(0.55)], [(96, 96)], [target()])
    assert all(loss.isfinite() for loss in losses.values())
    assert losses["loss_box_reg_2"] == 0


def test_missing_targets_and_stages_that_do_not_fit_each_other_are_refused() -> None:
    heads = detector("cascade_mask").roi_heads
    boxes, predictors = [nn.Flatten()] * 3, [ClassAgnosticPredictor(8, 4)] * 3

    def make(*parts: list[nn.Module], **options: object) -> CascadeRoIHeads:
        return CascadeRoIHeads(None, *parts, **options)

    rows: list[tuple[Callable[[], object], str]] = [
        (lambda: heads(features(), [TRUTH], [(96, 96)]), "targets"),
        (lambda: heads(features(), [TRUTH], [(96, 96)], [target()]), "masks"),
        (lambda: make(boxes, predictors, iou_thresholds=(0.6, 0.5, 0.7)), "iou_thresholds"),
        (lambda: make(boxes, predictors, iou_thresholds=(0.5, 0.6, 1.1)), "iou_thresholds"),
        (lambda: make(boxes, predictors, iou_thresholds=(0.0, 0.5, 0.6)), "iou_thresholds"),
        (lambda: make([], [], iou_thresholds=()), r"iou_thresholds \(=\(\)\) must be at least one"),
        (lambda: make(boxes, predictors, iou_thresholds=(0.5, 0.6)), r"box_weights \(=3\) must be .* \(=2\)"),
        (lambda: make(boxes[:2], predictors), r"box_heads \(=2\) must be that of iou_thresholds \(=3\)"),
        (lambda: make(boxes, predictors[:2]), r"box_predictors \(=2\)"),
    ]
    assert_refused(lambda call: call(), rows)
