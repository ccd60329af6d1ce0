"""Folding changes what is stored, not what is computed."""

import pytest
import torch
from torch import Tensor, nn

from resnest_edu import ResNeSt, Variant, create_model, rectify
from resnest_edu.network.batch_norm_folding import fold_batch_norms
from tests.randomize import randomize_norms

SMALL = Variant((1, 2), planes=(8, 16), stem_width=8)


@pytest.mark.parametrize(
    "variant",
    [
        SMALL,
        Variant((1, 1), planes=(8, 16), stem_width=8, radix=1, stem_stride=1),
        Variant((1, 1), planes=(16, 16), stem_width=8, radix=2, cardinality=2, stem_stride=2, pool_first=True),
    ],
)
def test_the_folded_network_computes_the_same_in_double_precision(variant: Variant) -> None:
    torch.manual_seed(0)
    model = randomize_norms(ResNeSt(variant, 5)).double().eval()
    x = torch.randn(3, 3, 32, 32, dtype=torch.double)
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(fold_batch_norms(model)(x), expected, rtol=1e-10, atol=1e-10)
        assert torch.equal(model(x), expected)  # the original is as it was


def test_no_batch_norm_is_left_and_the_convolutions_have_biases() -> None:
    folded = fold_batch_norms(create_model("resnest11_small", num_classes=8))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert all(module.bias is not None for module in folded.modules() if isinstance(module, nn.Conv2d))


class Preactivated(nn.Module):
    """Made in one order, run in the other."""

    def __init__(self, zero: bool = False) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 1, bias=not zero), nn.BatchNorm2d(4)
        if zero:
            nn.init.zeros_(self.bn.weight)  # as it is, the order makes no difference

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.bn(x).relu())


def test_what_cannot_be_folded_is_refused() -> None:
    for model, message in (
        (nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)), "0 must come straight after a plain convolution of 4"),
        (nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)), r"2 must .* not 1 \(=ReLU\(\)\)"),
        (nn.Sequential(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(4)), "of 4 channels, not 0"),
        (nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)), "running statistics"),
        (Preactivated(), r"model \(=Preactivated\) must run every batch norm straight after the convolution that was"),
        (Preactivated(zero=True), "must run every batch norm"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2)),
            r"^images \(=\(1, 3, 64, 64\)\) must be a batch that model \(=Sequential\) takes: mat1 and mat2",
        ),
        (rectify(ResNeSt(SMALL, 5)), "conv1.1 must come straight after a plain convolution"),
    ):
        with pytest.raises(ValueError, match=message):
            fold_batch_norms(model)
