"""Teachers of other code bases: weights without anything else, matched to a structure of ours or refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from condense.data import ImageDataset
from condense.errors import Refused
from condense.networks import Network, build_network
from condense.teachers import Teacher, load_teacher, read_teacher


@pytest.fixture
def weights(trained: Network) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trained.state_dict().items()}


def taken(path: Path, toy: ImageDataset, network: str = "convnet-w32-bn") -> Teacher:
    return read_teacher(path, network=network, spec=toy.spec)


def test_a_teacher_of_ours_says_its_structure_itself(
    teacher: Teacher, toy: ImageDataset, tmp_path: Path
) -> None:
    teacher.save(tmp_path / "ours.safetensors")
    assert taken(tmp_path / "ours.safetensors", toy, "resnet18").hash == teacher.hash


@pytest.mark.parametrize("form", ["safetensors", "plain", "state_dict", "model", "module.", "renamed"])
def test_weights_of_each_form_are_the_same_network(
    form: str, weights: dict[str, torch.Tensor], teacher: Teacher, toy: ImageDataset, tmp_path: Path
) -> None:
    path = tmp_path / ("foreign.safetensors" if form == "safetensors" else "foreign.pt")
    if form == "safetensors":
        save_file(weights, path)
    elif form in ("state_dict", "model"):
        torch.save({form: weights, "epoch": 3}, path)
    elif form == "renamed":
        torch.save({f"layer{i}": value for i, value in enumerate(weights.values()) if value.ndim}, path)
    else:
        torch.save({f"{form.removeprefix('plain')}{name}": value for name, value in weights.items()}, path)
    found = taken(path, toy)
    x = toy.test.in_space(toy.space("normalized")).images
    assert torch.equal(found.logits(x), teacher.logits(x))
    assert found.accuracy is None and found.classes == toy.spec.classes
    # Nobody knows what it was trained on, and it does not say so.
    assert found.header is not None and found.dataset is None and found.header.train_hash is None
    assert taken(path, toy).hash == found.hash != teacher.hash
    # What is kept of it is a teacher like any other, under the same hash.
    found.save(tmp_path / "kept.safetensors")
    assert load_teacher(tmp_path / "kept.safetensors").hash == found.hash
    assert load_teacher(tmp_path / "kept.safetensors").header == found.header


def test_a_torchvision_resnet_is_read_layer_by_layer(toy: ImageDataset, tmp_path: Path) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.resnet18(num_classes=3)
        theirs.conv1, theirs.maxpool = nn.Conv2d(1, 64, 3, padding=1, bias=False), nn.Identity()
    theirs.to_empty(device="cpu")
    drawn = build_network("resnet18-bn", toy.spec.shape, 3, torch.Generator().manual_seed(2)).state_dict()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), drawn.values(), strict=True)))
    torch.save(theirs.state_dict(), tmp_path / "resnet.pt")
    found = taken(tmp_path / "resnet.pt", toy, "resnet18-bn")
    x = toy.test.in_space(toy.space("normalized")).images
    with torch.no_grad():
        torch.testing.assert_close(found.logits(x), theirs.eval()(x), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("network", ["convnet-bn", "convnet-w32", "resnet18-bn"])
def test_another_structure_is_refused(
    suffix: str, network: str, weights: dict[str, torch.Tensor], toy: ImageDataset, tmp_path: Path
) -> None:
    path = tmp_path / f"foreign.{suffix}"
    save_file(weights, path) if suffix == "safetensors" else torch.save(weights, path)
    with pytest.raises(
        Refused, match=f"foreign.{suffix} does not hold a {network}: .*; network names its structure"
    ):
        taken(path, toy, network)


def test_weights_that_are_no_numbers_are_refused(
    weights: dict[str, torch.Tensor], toy: ImageDataset, tmp_path: Path
) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file(weights | {"classifier.bias": torch.zeros(3, dtype=torch.int64)}, path)
    with pytest.raises(Refused, match="classifier.bias is torch.int64; weights are floating point"):
        taken(path, toy)
    save_file(weights | {"classifier.bias": torch.full((3,), torch.inf)}, path)
    with pytest.raises(Refused, match="classifier.bias holds a number that is not finite"):
        taken(path, toy)


class Trap:
    """An object whose unpickling writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_nothing_in_a_file_of_pytorchs_is_executed(toy: ImageDataset, tmp_path: Path) -> None:
    torch.save({"state_dict": Trap(tmp_path / "sprung")}, tmp_path / "trap.pt")
    with pytest.raises(Refused, match="trap.pt cannot be read as plain tensors, and nothing else is read"):
        taken(tmp_path / "trap.pt", toy)
    assert not (tmp_path / "sprung").exists()


def test_what_holds_no_state_dict_is_refused(toy: ImageDataset, tmp_path: Path) -> None:
    path = tmp_path / "foreign.pt"
    for held in ([torch.zeros(1)], {}, {"epoch": 3}, torch.zeros(2)):
        torch.save(held, path)
        with pytest.raises(Refused, match="foreign.pt holds no state dict"):
            taken(path, toy)
    path.write_bytes(b"neither one nor the other")
    with pytest.raises(Refused, match="cannot be read as plain tensors"):
        taken(path, toy)
    with pytest.raises(Refused, match="there is no file"):
        taken(tmp_path / "none.pt", toy)
    (tmp_path / "cut.safetensors").write_bytes(b"{")
    with pytest.raises(Refused, match="is not a whole .safetensors file"):
        taken(tmp_path / "cut.safetensors", toy)


def test_the_hash_goes_by_the_weights_and_by_what_they_are_taken_for(
    weights: dict[str, torch.Tensor], toy: ImageDataset, tmp_path: Path
) -> None:
    save_file(weights, tmp_path / "one.safetensors")
    save_file(weights | {"classifier.bias": torch.zeros(3)}, tmp_path / "two.safetensors")
    other = replace(toy, spec=replace(toy.spec, classes=("a", "b", "c")))
    hashes = {
        taken(tmp_path / "one.safetensors", toy).hash,
        taken(tmp_path / "two.safetensors", toy).hash,
        taken(tmp_path / "one.safetensors", other).hash,
    }
    assert len(hashes) == 3
