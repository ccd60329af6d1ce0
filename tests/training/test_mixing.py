import itertools

import pytest
import torch
import torch.nn.functional as F

from resnest_edu.training.mixing import cutmix, cutmix_box, equivalent_epsilon, mixup, smooth
from tests.refused import assert_refused


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int, *, classes: int = 5, size: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(count, 3, size, size + 2, generator=seeded(7))
    return images, smooth(torch.arange(count) % classes, classes, 0.1)


# Label smoothing


def test_smooth_puts_epsilon_on_all_or_on_the_others():
    labels = torch.tensor([2, 0])
    found = smooth(labels, 4, 0.2), smooth(labels, 5, 0.2, definition="others")
    torch.testing.assert_close(found[0], torch.tensor([[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]]))
    torch.testing.assert_close(found[1], torch.tensor([[0.05, 0.05, 0.8, 0.05, 0.05], [0.8, 0.05, 0.05, 0.05, 0.05]]))
    for definition, epsilon in itertools.product(("all", "others"), (0, 1)):
        targets = smooth(torch.arange(7), 7, epsilon, definition=definition)
        torch.testing.assert_close(targets.sum(1), torch.ones(7))
        assert targets.shape == (7, 7) and (targets >= 0).all()


@pytest.mark.parametrize(("classes", "epsilon"), [(2, 0.5), (3, 0.1), (10, 0), (1000, 0.1)])
def test_equivalent_epsilon_turns_others_into_all_which_is_what_pytorch_does(classes, epsilon):
    labels, same = torch.arange(classes)[:3], equivalent_epsilon(epsilon, classes)
    others = smooth(labels, classes, epsilon, definition="others")
    torch.testing.assert_close(smooth(labels, classes, same), others)
    logits = torch.randn(len(labels), classes, generator=seeded())
    torch.testing.assert_close(F.cross_entropy(logits, labels, label_smoothing=same), F.cross_entropy(logits, others))


def test_equivalent_epsilon_is_never_beyond_one():
    found = [equivalent_epsilon((classes - 1) / classes, classes) for classes in range(2, 2000)]
    assert found == pytest.approx([1] * len(found)) and max(found) <= 1


# mixup


@pytest.mark.parametrize(
    ("per", "dtype"), [("batch", torch.float32), ("example", torch.float64), ("example", torch.uint8)]
)
def test_mixup_blends_images_and_targets_alike(per, dtype):
    images, targets = batch(5)
    images = (255 * images).to(dtype)
    mixed, mixed_targets = mixup(images, targets, 0.8, per=per, generator=seeded())
    assert mixed.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert mixed.shape == images.shape
    assert mixed_targets.shape == targets.shape
    assert mixed_targets.dtype == torch.float32
    torch.testing.assert_close(mixed_targets.sum(1), torch.ones(5))

    images, other = images.to(mixed.dtype), images.flip(0).to(mixed.dtype)
    own = []
    for i in range(5):
        if i == 2:  # the middle one meets itself
            torch.testing.assert_close(mixed[i], images[i])
            continue
        share = ((mixed[i] - other[i]) / (images[i] - other[i]))[images[i] != other[i]].median().item()
        torch.testing.assert_close(mixed[i], share * images[i] + (1 - share) * other[i], rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(
            mixed_targets[i], share * targets[i] + (1 - share) * targets[4 - i], rtol=1e-3, atol=1e-3
        )
        assert 0 < share < 1
        own.append(share)
    assert (max(own) - min(own) < 1e-3) == (per == "batch")


@pytest.mark.parametrize(("alpha", "per"), [(0.2, "batch"), (1, "example"), (4, "batch"), (4, "example")])
def test_mixup_draws_from_beta(alpha, per):
    count, runs = (2, 2000) if per == "batch" else (400, 10)
    images, targets = torch.zeros(count, 1, 1, 1), torch.eye(2).repeat_interleave(count // 2, 0)  # partners differ
    generator = seeded()
    drawn = [mixup(images, targets, alpha, per=per, generator=generator)[1][: count // 2, 0] for _ in range(runs)]
    assert torch.stack(drawn).mean().item() == pytest.approx(0.5, abs=0.04)
    assert torch.stack(drawn).var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.12)


# CutMix


def test_cutmix_pastes_a_box_of_the_partner_and_mixes_targets_by_its_area():
    generator = seeded()
    seen = set()
    for _ in range(50):
        images, targets = batch(4, size=8)
        before, targets_before = images.clone(), targets.clone()
        mixed, mixed_targets = cutmix(images, targets, 1, generator=generator)
        assert images.equal(before)
        assert targets.equal(targets_before)
        foreign = (mixed != images).any(1)  # b h w
        assert (foreign == foreign[0]).all()  # one box a batch
        rows, columns = foreign[0].any(1), foreign[0].any(0)
        assert foreign[0].equal(rows[:, None] & columns[None, :])  # a rectangle
        assert mixed.equal(torch.where(foreign[:, None], images.flip(0), images))
        own = 1 - foreign[0].float().mean()
        torch.testing.assert_close(mixed_targets, own * targets + (1 - own) * targets.flip(0))
        torch.testing.assert_close(mixed_targets.sum(1), torch.ones(4))
        seen.add(int(foreign[0].sum()))
    assert len(seen) > 15
    for dtype in (torch.uint8, torch.float64):
        assert cutmix((255 * images).to(dtype), targets, 1, generator=generator)[0].dtype == dtype


def test_cutmix_box_has_the_proportions_of_the_image_and_is_cut_at_its_border():
    height, width, own = 40, 60, 0.75  # a box of 20 by 30
    generator = seeded()
    boxes = [cutmix_box(height, width, own, generator=generator) for _ in range(2000)]
    for top, bottom, left, right in boxes:
        assert 0 <= top < bottom <= height
        assert 0 <= left < right <= width
        assert bottom - top == 20 or (bottom - top < 20 and (top == 0 or bottom == height))
        assert right - left == 30 or (right - left < 30 and (left == 0 or right == width))
    # The centre is any pixel: the box begins at row 0 for the centres 0 … 10, of 40, and ends in row 40 for 30 … 39.
    for edge, end, share in ((0, 0, 11 / 40), (1, height, 10 / 40), (2, 0, 16 / 60), (3, width, 15 / 60)):
        assert sum(box[edge] == end for box in boxes) / len(boxes) == pytest.approx(share, abs=0.035)
    uncut = [box for box in boxes if box[1] - box[0] == 20 and box[3] - box[2] == 30]
    assert min(box[0] for box in uncut) == 0 and max(box[1] for box in uncut) in (39, 40)


def test_cutmix_box_is_as_large_as_the_share_asks():
    def largest(own: float) -> int:
        boxes = [cutmix_box(9, 11, own, generator=seeded(seed)) for seed in range(30)]
        return max((bottom - top) * (right - left) for top, bottom, left, right in boxes)

    assert [largest(own) for own in (1, 0.75, 0.5, 0)] == [0, 4 * 6, 6 * 8, 9 * 11]


def test_cutmix_shares_follow_alpha():
    images, targets = torch.zeros(2, 1, 32, 32), torch.eye(2)
    generator = seeded()
    few, many = (
        torch.stack([cutmix(images, targets, alpha, generator=generator)[1][0, 0] for _ in range(600)])
        for alpha in (0.1, 100)
    )
    # For a large α every box has half the area, before the border cuts it.
    assert many.min() > 0.4
    assert many.std() < 0.2
    assert few.std() > 0.24
    # The mean area that stays inside is (1 - s/4)² of the box's, s = √½ its side.
    assert 1 - many.mean().item() == pytest.approx(0.5 * (1 - 0.5**0.5 / 4) ** 2, abs=0.03)


# Both


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_the_generator_alone_decides(mix):
    images, targets = batch(6, size=16)
    state = torch.get_rng_state()
    runs = [mix(images, targets, 1, generator=seeded(seed)) for seed in (1, 1, 2)]
    assert runs[0][0].equal(runs[1][0])
    assert runs[0][1].equal(runs[1][1])
    assert not runs[0][1].equal(runs[2][1])
    assert torch.get_rng_state().equal(state)
    generator = seeded(1)
    first, second = (mix(images, targets, 1, generator=generator)[1] for _ in range(2))
    assert not first.equal(second)
    if mix is mixup:
        assert mixup(images, targets, 1, per="batch", generator=seeded(1))[0].equal(runs[0][0])


def test_errors_name_what_is_wrong():
    images, targets = batch(4)
    labels = torch.zeros(3, dtype=torch.int64)
    pictures, floats = (
        r"bytes or floating point of shape \(B, C, H, W\)$",
        r"floating point of shape \(B, classes\) with B = 4$",
    )
    share = "a finite number at least 0 and at most"
    tables = [
        (
            lambda given: smooth(given, 5, 0.1),
            [
                (labels.int(), r"^labels \(=torch.int32, \(3,\)\) must be int64 of shape \(B,\)$"),
                (labels[:, None], r"^labels \(=torch.int64, \(3, 1\)\) must be int64 of shape \(B,\)$"),
            ],
        ),
        (
            lambda given: smooth(labels, 5, given),
            [(given, rf"^epsilon \(={given}\) must be {share} 1$") for given in (-0.1, 1.01)],
        ),
        (
            lambda given: smooth(labels, 5, 0.1, definition=given),
            [("paper", r"^definition \(='paper'\) must be one of all, others$")],
        ),
        (lambda given: equivalent_epsilon(given, 5), [(0.81, rf"^epsilon \(=0.81\) must be {share} 0.8$")]),
        (
            lambda given: mixup(images, targets, 1, per=given, generator=seeded()),
            [("image", r"^per \(='image'\) must be one of batch, example$")],
        ),
        (
            lambda given: cutmix_box(*given, 0.5, generator=seeded()),
            [((0, 4), r"^height \(=0\) must be an"), ((4, 0), r"^width \(=0\) must be an")],
        ),
        (
            lambda given: cutmix_box(4, 4, given, generator=seeded()),
            [(given, rf"^own \(={given}\) must be {share} 1$") for given in (-0.1, 1.1)],
        ),
    ]
    classes = [(given, r"^classes \(=.*\) must be") for given in (1, 0, 2.5)]
    tables += [
        (lambda given: smooth(labels, given, 0.1), classes),
        (lambda given: equivalent_epsilon(0.1, given), classes),
    ]
    mixing = [
        ((images.long(), targets, 1), rf"^images \(=torch.int64, \(4, 3, 6, 8\)\) must be {pictures}"),
        ((images[0], targets, 1), rf"^images \(=torch.float32, \(3, 6, 8\)\) must be {pictures}"),
        ((images, targets.long(), 1), rf"^targets \(=torch.int64, \(4, 5\)\) must be {floats}"),
        ((images, targets[:3], 1), rf"^targets \(=torch.float32, \(3, 5\)\) must be {floats}"),
        ((images, targets[:, 0], 1), rf"^targets \(=torch.float32, \(4,\)\) must be {floats}"),
        ((images, targets, 0), r"^alpha \(=0\) must be a finite number greater than 0$"),
        ((images, targets, -1.0), r"^alpha \(=-1.0\) must be a finite number greater than 0$"),
    ]
    tables += [
        (lambda given: mixup(*given, generator=seeded()), mixing),
        (lambda given: cutmix(*given, generator=seeded()), mixing),
    ]
    for call, rows in tables:
        assert_refused(call, rows)
