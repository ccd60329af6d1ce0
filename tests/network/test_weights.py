"""Files that are as they should be load; every damaged one ends in one clear error and leaves the model as it was."""

import copy
import hashlib
import io
import os
import pickle
import random
import re
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import timm
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel

from resnest_edu import (
    PUBLISHED,
    PublishedFile,
    ResNeSt,
    Variant,
    create_model,
    load,
    load_checkpoint,
    read_header,
    save,
)
from resnest_edu.network.resnest import VARIANTS
from resnest_edu.network.weights import architecture
from resnest_edu.speed import accelerate
from tests.pairwise import pairwise
from tests.randomize import randomize
from tests.refused import assert_refused

State = dict[str, Tensor]


def small(classes: int = 5, seed: int = 0) -> nn.Module:
    return randomize(create_model("resnest11_small", classes), seed)


def write(state: object, path: Path, form: str) -> Path:
    if form == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file(state, path)
    else:
        path = path.with_suffix(".pth")
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    return path


FORMS = ("zip", "legacy", "safetensors")


def same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def group() -> Iterator[None]:
    """A process group of one, for DistributedDataParallel."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Holder(nn.Module):
    """A network of one's own around ours."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder


PREFIXES = ("", "module.", "module._orig_mod.", "model.", "student.backbone.")
KEYS = (None, "model", "state_dict", "state_dict_ema", "model_ema")
TARGETS = (nn.Identity, torch.compile, nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel, Holder)


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize(
    ("form", "prefix", "key", "counts", "target"), pairwise(FORMS, PREFIXES, KEYS, (True, False), TARGETS)
)
def test_names_are_known_behind_what_programs_put_before_them(form, prefix, key, counts, target, tmp_path):
    source, model = small(seed=1).state_dict(), small(seed=2)
    content = {prefix + name: tensor for name, tensor in source.items() if counts or "num_batches" not in name}
    if prefix.startswith("module") and form != "safetensors":
        content["n_averaged"] = torch.tensor(3)  # as AveragedModel writes it
    if key and form != "safetensors":
        others = {name: small(seed=3).state_dict() for name in ("model", "state_dict") if key.endswith("ema")}
        content = {**others, key: content, "epoch": 3, "args": Namespace(lr=0.1)}
    wrapped = target(model) if target is not nn.Identity else model
    before = list(wrapped.state_dict())
    assert load(write(content, tmp_path / "weights", form), wrapped) is wrapped
    if not counts:
        source = {name: torch.tensor(0) if "num_batches" in name else tensor for name, tensor in source.items()}
    inner = next(part for part in wrapped.modules() if isinstance(part, ResNeSt))  # of an average, the copy
    assert same(inner.state_dict(), source) and list(wrapped.state_dict()) == before


@pytest.mark.usefixtures("group")
def test_of_a_wrapped_model_the_network_inside_is_saved(tmp_path):
    for wrap in (torch.compile, nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel):
        model, path = small(seed=1), tmp_path / "a.safetensors"
        save(path, nn.DataParallel(wrap(model)))
        assert load(path).variant == model.variant and same(load_file(path), model.state_dict())


def test_a_published_file_of_another_member_is_known_by_its_name(tmp_path, monkeypatch):
    """Two networks may have the same shapes, and compute something else."""
    path = write(small(1000).state_dict(), tmp_path / "weights", "zip")
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    path = path.rename(tmp_path / f"other-{digits}.pth")
    monkeypatch.setitem(VARIANTS, "other", replace(VARIANTS["resnest11_small"], pool_first=False))
    monkeypatch.setitem(PUBLISHED, "other", PublishedFile(path.name))
    for model in (small(1000), create_model("resnest11_small", features_only=True), nn.DataParallel(small(1000))):
        with pytest.raises(ValueError, match=r"model: it is of other, not of resnest11_small$"):
            load(path, model, new_head=True)
    numbers = asdict(VARIANTS["other"]) | {"planes": [16, 32, 64]}
    load(path, ResNeSt(Variant(**numbers), 1000))
    load(path.rename(tmp_path / "mine.pth"), small(1000))


def test_half_precision_becomes_the_models(tmp_path):
    source, model = small(seed=1).half(), small(seed=2)
    load_checkpoint(model, write(source.state_dict(), tmp_path / "weights", "zip"))
    assert model.fc.weight.dtype == torch.float32 and same(model.half().state_dict(), source.state_dict())


def test_weights_of_timm_load_and_give_the_same_logits(tmp_path):
    theirs = randomize(timm.create_model("resnest14d")).eval()
    ours = create_model("resnest14").eval()
    load_checkpoint(ours, write(theirs.state_dict(), tmp_path / "weights", "safetensors"))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = theirs(x)
        assert (ours(x) - expected).norm() < 1e-5 * expected.norm()


def test_another_number_of_classes_needs_the_argument(tmp_path):
    path = write(small(7, seed=1).state_dict(), tmp_path / "weights", "zip")
    model = small(5, seed=2)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(
        ValueError, match=r"fc\.weight has the shape \(7, 256\) instead of \(5, 256\); pass new_head=True"
    ):
        load_checkpoint(model, path)
    assert same(model.state_dict(), before)
    load_checkpoint(model, path, new_head=True)
    expected = small(7, seed=1).state_dict() | {name: before[name] for name in ("fc.weight", "fc.bias")}
    assert same(model.state_dict(), expected)


def test_the_hash_is_compared_where_it_is_known(tmp_path):
    path = write(small(seed=1).state_dict(), tmp_path / "weights", "zip")
    digits = hashlib.sha256(path.read_bytes()).hexdigest()
    for sha256 in (digits, digits[:8]):
        load_checkpoint(small(), path, sha256=sha256)
    wrong = "0" * 8 if digits[0] != "0" else "1" * 8
    with pytest.raises(ValueError, match=rf"must have the SHA-256 {wrong}; it has {digits[:8]}$"):
        load_checkpoint(small(), path, sha256=wrong)
    for bad in ("", "0123", "g" * 8, digits + "0", digits.upper()):
        with pytest.raises(ValueError, match=r"^sha256 \(='.*'\) must be 8 to 64 digits"):
            load_checkpoint(small(), path, sha256=bad)
    load_checkpoint(small(), path.rename(tmp_path / f"weights-{digits[:8]}.pth"))
    with pytest.raises(ValueError, match=r"must have the SHA-256 [0-9a-f]+, the digits its name ends in; it has "):
        load_checkpoint(small(), (tmp_path / f"weights-{digits[:8]}.pth").rename(tmp_path / f"weights-{wrong}.pth"))


def test_no_file(tmp_path):
    for path in (tmp_path / "missing.pth", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"^path \(='.*'\) must be a file$"):
            load_checkpoint(small(), path)


def test_the_error_says_what_is_wrong(tmp_path):
    rows = [
        (lambda state: state.pop("conv1.0.weight"), r"it lacks conv1\.0\.weight$"),
        (lambda state: state.update(extra=torch.zeros(1)), r"it has the unknown extra$"),
        (lambda state: state.update(recipe={}), r"its entry 'recipe' is a dict instead of a tensor$"),
        (lambda state: [state.pop(name) for name in list(state)[:5]], r"it lacks conv1\.0\.weight, .*, .* and 2 more$"),
        (lambda state: state.update({"fc.bias": [1.0]}), r"its entry 'fc\.bias' is a list instead of a tensor$"),
        (lambda state: state.update({"fc.bias": torch.zeros(5).long()}), r"its fc\.bias is torch\.int64 instead of"),
        (lambda state: state["bn1.running_var"].neg_(), r"its bn1\.running_var is a variance and has negative values$"),
        (lambda state: state["fc.bias"].fill_(torch.nan), r"its fc\.bias has values that are not finite$"),
    ]

    def load(change):
        state = small(seed=1).state_dict()
        change(state)
        load_checkpoint(small(), write(state, tmp_path / "weights", "zip"))

    assert_refused(load, rows)


class Code:
    """What a malicious pickle holds: on loading, a command is run."""

    def __init__(self, call: Callable, *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple:
        return self.call, self.arguments


def damaged_states(state: State) -> Iterator[tuple[str, object]]:
    """What a file may hold instead of the state dict that it should hold."""
    names = list(state)
    for name in names[::3]:
        yield f"without {name}", {key: value for key, value in state.items() if key != name}
    floats = [name for name in names if state[name].is_floating_point()]
    for i, name in enumerate(floats[::4]):
        broken = state[name].clone()
        broken.view(-1)[i % broken.numel()] = (float("nan"), float("inf"), -float("inf"))[i % 3]
        yield f"not finite in {name}", state | {name: broken}
    for name in [name for name in names if name.endswith("running_var")][::2]:
        yield f"negative variance in {name}", state | {name: -state[name]}
    for name in floats[::4]:
        tensor = state[name]
        for change in (tensor[None], tensor[:-1].clone(), tensor.long(), tensor.to(torch.complex64), tensor.tolist()):
            yield f"{change!r:.30} in {name}", state | {name: change}
    for extra in ("layer9.0", "extra", 3):
        yield f"with {extra} as a name", state | {extra: torch.zeros(3)}
    yield "another variant", create_model("resnest14", 5).state_dict()
    yield "no network", nn.Linear(3, 3).state_dict()
    for other in (None, [1, 2], torch.zeros(3), "weights", {}, {"model": [1, 2]}, {"state_dict": {"model": state}}):
        yield f"{other!r:.30}", other


def damaged_bytes(good: bytes, form: str) -> Iterator[tuple[str, bytes]]:
    draw = random.Random(0)
    for _ in range(30):
        length = draw.randrange(len(good))
        yield f"{form} cut at {length}", good[:length]
    if form != "safetensors":  # which is without checksums: only the hash tells zeros from weights
        yield f"{form} with zeros at the end", good[: len(good) // 2] + bytes(len(good) - len(good) // 2)
    yield f"{form} without its beginning", good[100:]


def malicious_files(marker: Path) -> Iterator[tuple[str, bytes]]:
    write_it = f"open({str(marker)!r}, 'w')"
    codes = Code(os.system, f"touch {marker}"), Code(eval, write_it), Code(exec, write_it), Code(open, str(marker), "w")
    for code in codes:
        yield f"pickle with {code.call}", pickle.dumps({"fc.weight": code}, protocol=2)
        for form in (True, False):
            buffer = io.BytesIO()
            torch.save({"state_dict": {"fc.weight": code}}, buffer, _use_new_zipfile_serialization=form)
            yield f"torch file with {code.call} ({'zip' if form else 'legacy'})", buffer.getvalue()


def test_damaged_files_end_in_one_clear_error_and_change_nothing(tmp_path):
    model, state = small(seed=2), small(seed=1).state_dict()
    before, marker = copy.deepcopy(model.state_dict()), tmp_path / "code-was-run"
    files: list[tuple[str, Path]] = []

    def add(what: str, content: bytes, suffix: str) -> None:
        path = tmp_path / f"file{len(files)}{suffix}"
        path.write_bytes(content)
        files.append((what, path))

    for what, content in damaged_states(state):
        files.append((what, write(content, tmp_path / f"file{len(files)}", "zip")))
    for form in FORMS:
        good = write(state, tmp_path / form, form)
        for what, content in damaged_bytes(good.read_bytes(), form):
            add(what, content, good.suffix)
    for what, content in malicious_files(marker):
        add(what, content, ".pth")
    for what, content in {"empty": b"", "text": b"no weights", "page": b"<html>404</html>", "zip": b"PK\3\4"}.items():
        add(what, content, ".pth")
        add(f"{what}, safetensors", content, ".safetensors")
    assert len(files) >= 200
    for what, path in files:
        error = None
        try:
            load_checkpoint(model, path)
        except Exception as raised:
            error = raised
        message = r"path \(='.*'\) must be a checkpoint for this model: \S[^\n]*"
        assert isinstance(error, ValueError) and re.fullmatch(message, str(error)), (what, error)
        assert same(model.state_dict(), before), what
        assert not marker.exists(), what


@pytest.mark.parametrize("form", FORMS)
def test_a_flipped_bit_never_goes_into_the_model_unnoticed(form, tmp_path):
    """With the hash every flip is an error. Without it, zip files have checksums: an error, or nothing was lost."""
    state, draw = small(seed=1).state_dict(), random.Random(0)
    good = write(state, tmp_path / "good", form)
    content, digits = good.read_bytes(), hashlib.sha256(good.read_bytes()).hexdigest()
    model = small(seed=2)
    before = copy.deepcopy(model.state_dict())
    path = tmp_path / f"flipped{good.suffix}"
    for _ in range(40):
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match="SHA-256"):
            load_checkpoint(model, path, sha256=digits)
        assert same(model.state_dict(), before)
        if form == "zip":
            try:
                load_checkpoint(model, path)
            except ValueError:
                assert same(model.state_dict(), before)
            else:
                assert same(model.state_dict(), state)
                model.load_state_dict(before)


@pytest.mark.parametrize(
    ("variant", "outputs", "channels"),
    [(Variant((1, 2), (8, 16), stem_width=4, stem_stride=1), 0, 4), (VARIANTS["resnest11_small"], 3, 3)],
)
def test_a_file_for_use_says_which_network_it_holds(variant, outputs, channels, tmp_path):
    path, x = tmp_path / "a.safetensors", torch.rand(2, channels, 32, 32)
    model = randomize(ResNeSt(variant, outputs, in_channels=channels, output_stride=8, dropout=0.5, dropblock=0.1))
    save(path, model.to(memory_format=torch.channels_last), classes=("a", "b", "c"), score={"accuracy": 0.5})
    found, header = load(path), read_header(path)
    assert (found.variant, found.output_stride, found.training) == (variant, 8, False)
    assert same(found.state_dict(), model.state_dict()) and all(p.requires_grad for p in found.parameters())
    assert torch.equal(found(x), model.eval().to(memory_format=torch.contiguous_format)(x))
    assert (header["classes"], header["score"]) == (["a", "b", "c"], {"accuracy": 0.5})
    assert architecture(accelerate(model)) == architecture(nn.SyncBatchNorm.convert_sync_batchnorm(model)) != None  # noqa: E711
    assert same(load_file(path), model.state_dict())  # a plain file of its format


def test_a_network_that_numbers_do_not_describe_is_loaded_into_one(tmp_path):
    class Mine(nn.Conv2d):
        pass

    changed = [small() for _ in range(5)]
    changed[0].relu = nn.SiLU()
    changed[1].layer1[0].dropblock = nn.Tanh()
    changed[2].layer1[0].conv1 = Mine(32, 16, 1, bias=False)
    with torch.no_grad():  # or what it computes could not be copied
        prune.identity(changed[3].fc, "weight")
    changed[4].fc = nn.Sequential(nn.Linear(256, 5))
    for model in [*changed, nn.Linear(2, 2)]:
        path = tmp_path / "a.safetensors"
        save(path, model)
        with pytest.raises(ValueError, match=r"it does not say how to build it; load\(path, model\)"):
            load(path)
        twin = copy.deepcopy(model)
        nn.init.zeros_(next(twin.parameters()))
        assert load(path, twin) is twin and same(twin.state_dict(), model.state_dict())


def test_a_damaged_file_for_use(tmp_path):
    model, path = small(seed=1), tmp_path / "a.safetensors"
    save(path, model)
    content, draw = path.read_bytes(), random.Random(0)
    for _ in range(20):
        flipped = bytearray(content)
        flipped[draw.randrange(len(content) // 2, len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match="it is damaged: its checksum does not agree"):
            load(path)
    path.write_bytes(content.replace(b"pool_first", b"pool_worst"))
    with pytest.raises(ValueError, match="it is damaged"):
        read_header(path)
    with pytest.raises(ValueError, match=r"must end in \.safetensors$"):
        save(tmp_path / "a.pt", model)
    with pytest.raises(ValueError, match=r"new_head \(=True\) must come with a model"):
        load(path, new_head=True)


def test_a_backbone_takes_what_it_has_of_the_published_weights(tmp_path):
    source = small(seed=1)
    backbone = create_model("resnest11_small", features_only=True)
    load_checkpoint(backbone, write(source.state_dict(), tmp_path / "weights", "zip"))
    expected = {name: tensor for name, tensor in source.state_dict().items() if not name.startswith("fc.")}
    assert same(backbone.state_dict(), expected)
