import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from condense.files import canonical
from condense.training.checkpoint import Checkpoints, decode_tree, encode_tree

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=12,
)


@given(TREES)
@settings(max_examples=60, deadline=None, database=None)
def test_a_decoded_tree_has_the_types_of_the_encoded_one(tree: object) -> None:
    back = decode_tree(json.loads(canonical(encode_tree(tree, {}))), {})
    assert back == tree and repr(back) == repr(tree)


def test_tensors_of_every_form_come_back_from_the_disk_bit_for_bit(tmp_path: Path) -> None:
    whole = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    tensors = {
        "transposed": whole.t(),
        "shared": whole[1:],
        "scalar": torch.tensor(-0.0),
        "empty": torch.zeros(0, 3),
        "half": whole.to(torch.bfloat16),
        "wide": whole.double(),
        "whole numbers": torch.arange(5),
        "flags": whole > 0,
        "leaf": whole.clone().requires_grad_(),
        "not finite": torch.tensor([torch.inf, torch.nan]),
        "photograph": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
    }
    Checkpoints(tmp_path).write({"state": tensors, "again": whole})
    tree = Checkpoints(tmp_path).read()
    assert tree is not None and isinstance(state := tree["state"], dict)
    assert list(state) == list(tensors)
    for name, tensor in tensors.items():
        back = state[name]
        assert isinstance(back, Tensor) and back.dtype == tensor.dtype and back.shape == tensor.shape
        assert torch.equal(back.nan_to_num(7), tensor.detach().nan_to_num(7)), name


def test_the_state_of_an_optimiser_survives_a_checkpoint(tmp_path: Path) -> None:
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.Adam([weight], betas=(0.5, 0.75))
    torch.autograd.backward(weight.square().sum())
    optimizer.step()
    Checkpoints(tmp_path).write({"optimizer": optimizer.state_dict()})
    tree = Checkpoints(tmp_path).read()
    assert tree is not None
    other = torch.optim.Adam([torch.ones(2, requires_grad=True)])
    other.load_state_dict(tree["optimizer"])  # type: ignore[arg-type]
    assert list(other.param_groups[0]["betas"]) == [0.5, 0.75]
    (kept,) = other.state.values()
    assert torch.equal(kept["exp_avg"], torch.ones(2)) and kept["step"] == 1


def test_what_is_no_tensor_number_or_text_cannot_be_in_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot hold a object"):
        Checkpoints(tmp_path).write({"state": [object()]})
    assert not list(tmp_path.iterdir())


def test_the_two_newest_files_stay_and_the_newest_is_read(tmp_path: Path) -> None:
    for number in range(12):
        Checkpoints(tmp_path).write({"number": number})
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["checkpoint-00000010.safetensors", "checkpoint-00000011.safetensors"]
    assert Checkpoints(tmp_path).read() == {"number": 11}


def test_a_truncated_file_is_passed_over_for_the_one_before_it(tmp_path: Path) -> None:
    one, two = written(tmp_path)
    data = two.read_bytes()
    for length in [0, 1, 7, 8, 9, *range(10, len(data), 37), len(data) - 1]:
        two.write_bytes(data[:length])
        checkpoints = Checkpoints(tmp_path)
        assert checkpoints.read() == {"step": 1, "x": None}, length
        assert checkpoints.damaged == [two] and not two.exists() and one.exists()


def test_a_changed_bit_is_noticed_or_changes_nothing_that_is_read(tmp_path: Path) -> None:
    _, two = written(tmp_path)
    data = two.read_bytes()
    good = Checkpoints(tmp_path).read()
    assert good is not None
    unnoticed = 0
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << (place % 8)
        two.write_bytes(changed)
        tree = Checkpoints(tmp_path).read()
        assert tree is not None
        if two.exists():
            unnoticed += 1
            assert tree["step"] == 2 and torch.equal(tree["x"], good["x"])  # type: ignore[arg-type]
        else:
            assert tree == {"step": 1, "x": None}
    assert unnoticed < 8  # white space between the header and the numbers


def test_without_a_whole_file_there_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "not there").read() is None
    files = written(tmp_path)
    for file in files:
        file.write_bytes(b"{}")
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.read() is None and checkpoints.damaged == [files[1], files[0]]
    checkpoints.write({"step": 3})
    assert Checkpoints(tmp_path).read() == {"step": 3}


def test_removal_takes_checkpoints_and_half_written_files_alone(
    tmp_path: Path,
) -> None:
    written(tmp_path)
    (tmp_path / ".checkpoint-00000002.safetensors.k3j2h1").write_bytes(b"half")
    (tmp_path / "weights").write_text("")
    assert Checkpoints(tmp_path).read() is not None
    Checkpoints(tmp_path).remove()
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def written(folder: Path) -> tuple[Path, Path]:
    """The files of two checkpoints, the older one first."""
    checkpoints = Checkpoints(folder)
    checkpoints.write({"step": 1, "x": None})
    checkpoints.write({"step": 2, "x": torch.arange(6.0)})
    one, two = sorted(folder.glob("checkpoint-*"))
    return one, two
