import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import TensorDataset

from resnest_edu.training import evaluate, predict
from resnest_edu.training.augmentation import normalize
from tests.refused import assert_refused
from tests.training.small_runs import images, small_model


def test_measuring_leaves_the_mode_and_the_statistics_alone():
    model, data = small_model().train(), images(9, 0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, data)
    probabilities = predict(model, data.images, batch_size=4)
    assert model.training
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    assert probabilities.shape == (9, 2)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(9))
    for call in (
        lambda size: predict(model, data.images, batch_size=size),
        lambda size: evaluate(model, data, batch_size=size),
    ):
        assert_refused(call, [(0, r"batch_size \(=0\) must be an integer of at least 1")])
    floats = normalize(data.images)  # which would be normalized once more
    assert_refused(lambda images: predict(model, images), [(floats, r"images \(=torch.float32\) must be uint8")])
    assert_refused(lambda data: evaluate(model, data), [(TensorDataset(floats, data.labels), "must be uint8 of shape")])


def test_every_part_is_in_its_own_mode_again_whatever_happens():
    model, data = small_model().train(), images(9, 0)
    frozen = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)).eval()
    modes = [module.training for module in model.modules()]
    evaluate(model, data)
    predict(model, data.images)
    model.register_forward_pre_hook(lambda *_: 1 / 0)
    for call in (lambda: predict(model, data.images), lambda: evaluate(model, data)):
        with pytest.raises(ZeroDivisionError):
            call()
    assert [module.training for module in model.modules()] == modes and not frozen.training


def test_loss_and_accuracy_are_those_of_all_images():
    model, data = small_model().eval(), images(9, 0)
    with torch.no_grad():
        logits = model(normalize(data.images))
    loss = F.cross_entropy(logits, data.labels).item()
    accuracy = (logits.argmax(1) == data.labels).float().mean().item()
    for source in (data, TensorDataset(data.images, data.labels)):
        assert evaluate(model, source, batch_size=4) == (pytest.approx(loss, rel=1e-4), pytest.approx(accuracy))
    torch.testing.assert_close(predict(model, data.images, batch_size=2), logits.softmax(1), rtol=1e-4, atol=1e-5)
