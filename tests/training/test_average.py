import torch
from torch import nn

from resnest_edu.training import MovingAverage


def test_the_average_of_weights_and_statistics_warms_up():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).double()
    average = MovingAverage(model, 0.75)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for step in range(25):
        decay = min(0.75, (1 + step) / (10 + step))  # 0.1, 0.18, 0.25 … 0.74, 0.75, 0.75
        model(torch.randn(4, 3, 2, 2, dtype=torch.float64))  # moves the running statistics
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += torch.randn_like(parameter)
        average.update()
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * tensor
            else:
                expected[name] = torch.tensor(step + 1)
    assert any(not tensor.equal(expected[name]) for name, tensor in model.state_dict().items())
    for name, tensor in average.model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
