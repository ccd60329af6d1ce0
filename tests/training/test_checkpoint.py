import pickle

import pytest
import torch

import resnest_edu
from resnest_edu.training import RECIPES, load_checkpoint, save_checkpoint


def test_round_trip(tmp_path):
    torch.manual_seed(0)
    model = resnest_edu.create_model("resnest11_small", 3)
    model(torch.randn(4, 3, 32, 32))  # moves the running statistics
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, model, RECIPES["shapes"], ("a", "b", "c"))
    loaded, recipe, classes = load_checkpoint(path)
    assert (recipe, classes, loaded.training) == (RECIPES["shapes"], ("a", "b", "c"), False)
    x = torch.randn(2, 3, 32, 32)
    assert loaded(x).equal(model.eval()(x))
    assert list(tmp_path.iterdir()) == [path]


class Malicious:
    def __reduce__(self):
        return (print, ("this must never be printed",))


def test_files_that_are_no_checkpoints(tmp_path, capsys):
    path = tmp_path / "file.pt"
    torch.save({"model": {}, "recipe": {"nonsense": 1}, "classes": []}, path)
    with pytest.raises(ValueError, match=r"path \(='.*file.pt'\) must be a checkpoint written by save_checkpoint"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Malicious(), protocol=2))
    with pytest.raises(ValueError, match="must be a checkpoint"):
        load_checkpoint(path)
    torch.save({"model": Malicious(), "recipe": {}, "classes": []}, path)
    with pytest.raises(ValueError, match="must be a checkpoint"):
        load_checkpoint(path)
    assert capsys.readouterr().out == ""
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "missing.pt")
