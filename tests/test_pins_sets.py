"""What no change of the code may change in stored sets and in the cache: hashes, content, places.

All sets are of the bundled data and of tensors that every machine makes alike, so their hashes are literals
here. Whoever moves or renames code leaves them as they are: a set that was stored once is found, verified and
judged by its hash for ever.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import pins


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def sawtooth(*shape: int, step: int = 37, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers from -1 to 1 that float16 holds."""
    count = torch.Size(shape).numel()
    return ((torch.arange(count) * step % 129 - 64) / 64).to(dtype).view(shape)


def soft(n: int) -> Tensor:
    """Probabilities of ten classes that float16 holds."""
    rows = torch.full((n, 10), 1 / 16)
    return rows.index_put((torch.arange(n), torch.arange(n) % 10), torch.tensor(7 / 16))


LABELS = torch.arange(10)
DIGITS = {
    "plain": lambda run: run.distilled(sawtooth(10, 1, 8, 8), LABELS),
    "half": lambda run: run.distilled(sawtooth(10, 1, 8, 8, dtype=torch.float16), LABELS),
    "soft": lambda run: run.distilled(sawtooth(10, 1, 8, 8), LABELS, soft=soft(10), augment="none"),
    "learned rate": lambda run: run.distilled(sawtooth(10, 1, 8, 8), LABELS, lr=0.03125, rollbacks=2),
    "multi-formation": lambda run: run.distilled(sawtooth(10, 1, 8, 8), LABELS, decode=pins.steps(factor=2)),
    "compensated": lambda run: run.distilled(
        sawtooth(10, 1, 8, 8),
        LABELS,
        decode=pins.steps(networks=2),
        compensators=(64 * sawtooth(1, 2, 1, 8, 8)).to(torch.int8),
    ),
    "bytes": lambda run: run.distilled(sawtooth(10, 1, 8, 8) / 2, LABELS, as_bytes=True),
    "labelled": lambda run: run.distilled(
        sawtooth(10, 1, 8, 8), LABELS, soft=soft(10), labelled_by=pins.teacher(50.0)
    ),
}
"""Sets of digits, by what is particular about them."""

EDGES = torch.tensor([[0, 1, 1, 2, 3, 4, 4, 5], [1, 0, 2, 1, 4, 3, 5, 4]])
GRAPHS: dict[str, dict[str, Any]] = {
    "graphs": {"edge_labels": torch.tensor([0, 0, 1, 1, 2, 2, 0, 0]), "weights": torch.tensor([3, 5])},
    "weights that are no integers": {"weights": torch.tensor([0.5, 0.25])},
    "learned": {"nodes": sawtooth(6, 7)},
    "trees": {
        "edges": torch.tensor([[1, 2, 4, 5], [0, 0, 3, 3]]),
        "edges_ptr": torch.tensor([0, 2, 4]),
        "roots": torch.tensor([True, False, False, True, False, False]),
        "degrees": torch.tensor([2, 3, 1, 2, 2, 300]),
        "weights": torch.tensor([300, 1]),
        "to_parent": True,
    },
}
"""Sets of graphs: what they have in place of, or beside, two paths of three nodes."""

IMAGE_SETS = {
    "plain": ("04f047ecca9084b1", "1b1bafc271b2514e8b3685e3847a623b34f1c350768bf2b6eee55fcb8f5f9da1"),
    "half": ("97ae90a6f8e3d04f", "7e0506ee5257e6136499cb5f7341bd627fe10fa5592e2ff2124a782b465f3e1a"),
    "soft": ("8e2f74c0d19b9631", "17232719896533be6d848fd1b785837429e45b426a3088b5f834572454658d60"),
    "learned rate": ("659cae0485ec428f", "879aeed2ca3b65593fb4f848546a8c0f5fb15bf28d89243cb547180d6887214a"),
    "multi-formation": (
        "a5e3c64ee42130d4",
        "88d7393de39aaf1599a1f398cd2feaf606ec2e636031fa5de921341ff17157c1",
    ),
    "compensated": ("e3e2827c79df02a5", "f5c83256f31fdeb77c9d0e5716c5fba1a8f7718cc1ffe0f9ebdc129537da31d8"),
    "bytes": ("c9340df91d1fc44c", "cbdca3373fb6bb591add04c694002f5efef317bd3a61b82c55229e5b60adbd62"),
    "labelled": ("3d0e496cf0245441", "61e1f8a9f808a3f549cdb9ef45716e7c6e736fab71804361442fda26ce9574ba"),
}
"""Of each set a digest of its content, and its hash; so of graphs."""

GRAPH_SETS = {
    "graphs": ("fdcaa951be5c4477", "6f50cfbcbb2f26b606c3ee2b7cc6fd83d59bbbb4d274c19571f3abcf5508ab1a"),
    "weights that are no integers": (
        "ca1a8f368c0fc657",
        "3d1d76fdd53e1b5a776ebc264892bb2779e20817ee08a566823d811ba3a86f47",
    ),
    "learned": ("d707b2d2d058b7d4", "f6903809d0adf4a2cf90a839aff7783e696185b484b321d5339c8892076a2b48"),
    "trees": ("6a18f818bba83ce5", "05714b9e58af119bf021c9ba8945d37261c76f60714e494a2489c9f223e16bfb"),
}

ENCODED = {
    "png": "f8a5ff4b19ef8d0d105616b34ecb44e749190b94b50df5f9464611bec895574a",
    "jpeg": "cd9c665dfe25011624c3a55f9e28d35deb7649af33fd7c92c6ff23e856b390eb",
    "jpeg:90": "45e826cc0e80e381d1f1b7d7bfe667b03cb26bc79e769ddd1389601d1df11867",
}
"""Digests of the content of compressed sets, but for what depends on the length of the files."""

SELECTED: list[tuple[str, str, int, dict[str, str], str]] = [
    ("random_subset", "images", 1, {}, "5970d29cef4f86a58c34bf5a31382d956d4a14bd17f066122c92c3008badb1e3"),
    ("random_subset", "images", 3, {}, "04c1a0d8714aa870829f4f51fb4dfc8c74d31edc215ea6c15a91c34652ccdb77"),
    ("random_subset", "graphs", 1, {}, "1f7c1b4d04a1f0eb13a56aa94460d1607781cb0e17256b5e88fd56ae8c89b1f9"),
    ("random_subset", "graphs", 3, {}, "594c13a06ee4484c36652afb506da83d6021e62c7b8287d54e525a0c6e89bb6a"),
    (
        "random_subset", "graphs", 1, {"room": "2000"},
        "37a349e5e9fc2c3d189510bf2c854b031363df600fcf02369d1fd8a4102cf68f",
    ),
    ("mirage", "graphs", 2, {}, "b4ad7332e7305ebd5ebff7c50d68a11d5d6c5b8a9a1fc5560c2928d6da7ba041"),
    (
        "mirage", "graphs", 1, {"hops": "1", "exclusive": "true"},
        "c35db346f575e58b5ddba9bf6b60e16d8ede690d4ac3c7978e041345f5833b5c",
    ),
    (
        "mirage", "graphs", 1, {"hops": "1", "drop_isolated": "true", "edge_labels": "false"},
        "fc1acda2414799617d4eec8a878b46fca7284b4b3a03e38af982e6e1d95e51cf",
    ),
]  # fmt: skip
"""Sets that need no floating point: method, kind, IPC, settings, hash."""

CONTENT = (
    '{"bytes":{"auxiliary":0,"decoder":0,"images":640,"labels":10,"replay":0,"teacher":0},"counts":'
    '{"effective":10,"per_class":[1,1,1,1,1,1,1,1,1,1],"stored":10},"dataset":{"classes":'
    '["0","1","2","3","4","5","6","7","8","9"],"dsa":"color_crop_cutout_scale_rotate","name":"digits",'
    '"shape":[1,8,8],"train_hash":"b6536b565eeeafba1d93fa1262b308b74224c9a28cc09457cce76f9221c6b2c9"},'
    '"decode":[],"format":"condense-set","hints":{"augment":"dsa","lr":null},"ipc":1,'
    '"key":"9f4454bd16af57b5936f3cddddab3686428bd3703989246b61c35f155c4315fd","kind":"images",'
    '"label":{"kind":"hard","teacher":null,"temperature":1.0},"method":{"chain":[{"config":'
    '{"network":"convnet","pixel_space":"normalized"},"name":"random_subset","version":1}],'
    '"name":"random_subset","source":null},"pixels":{"mean":[0.3054],"space":"raw","std":[0.3757]},'
    '"protocol":null,"seed":0,"tensors":[{"dtype":"uint8","name":"images","shape":[10,1,8,8]},'
    '{"dtype":"uint8","name":"labels","shape":[10]}],"version":1}'
)
"""The content of the first of them, to the letter."""

WHITENING = (
    "on the training images as float64 pixels in [0, 1], flattened channel by channel and row by row, take "
    "the mean and the unbiased covariance U diag(S) U^T; whitened = (x - mean) U diag(1 / sqrt(S + eps)) U^T"
)

PARAMETERS = {
    "convnet": "78b0bbdbcbbaa2ba",
    "convnet-bn": "477bb9f865280133",
    "convnet-w32-bn": "72cfadb09bcb60e2",
    "mlp": "ee0f39e140b2b763",
    "resnet18": "32dec43d38c48971",
    "resnet18-bn": "29421d6351b990a5",
    "gcn-sum": "73bed986ca58962e",
    "gat-mean": "84f725190e43eb46",
    "gin-sum": "44c90ad5729af01e",
}
"""Digests of the names, types and shapes of networks' tensors: a teacher's hash covers the names."""

MTT = (
    '{"augment":"dsa","batch":256,"clipping":false,"gradient_penalty":0.0,"lr":0.01,"lr_drop":null,'
    '"momentum":0.0,"network":"convnet","optimizer":"sgd","version":1,"weight_decay":0.0}'
)
TEACHERS = (
    '{"augment":"crop-flip","batch":128,"cosine":true,"epochs":200,"held_out":0.05,"lr":0.1,"momentum":0.9,'
    '"network":"convnet-bn","seed":0,"version":1,"weight_decay":0.0005}'
)
TRAININGS = {
    "mtt": MTT,
    "tesla": MTT,
    "ftd": '{"adaptive":true,"alpha":1.0,"augment":"dsa","batch":256,"clipping":false,"gradient_penalty":0.0,'
    '"lr":0.01,"lr_drop":null,"momentum":0.0,"network":"convnet","optimizer":"gsam","rho":0.01,"version":1,'
    '"weight_decay":0.0}',
    "ast": '{"augment":"dsa","batch":256,"clipping":true,"gradient_penalty":2.0,"lr":0.003,'
    '"lr_drop":[27,0.6],"momentum":0.9,"network":"convnet","optimizer":"sgd","version":1,"weight_decay":0.001}',
    "datm": '{"adaptive":true,"alpha":0.3,"augment":"dsa","batch":256,"clipping":false,'
    '"gradient_penalty":0.0,"lr":0.01,"lr_drop":null,"momentum":0.0,"network":"convnet","optimizer":"gsam",'
    '"rho":0.01,"version":1,"weight_decay":0.0}',
    **dict.fromkeys(("sre2l", "cda", "dwa", "rded", "infer"), TEACHERS),
}
"""What of a method's training of experts or teachers names their place in the cache."""

NCFM = (
    '{"augment":"dsa:color+crop","batch":128,"cutmix":0.5,"epochs":2,"gamma":0.2,"lr":0.01,"milestones":'
    '[0.6666666666666666,0.8333333333333334],"momentum":0.9,"network":"convnet","seed":3,"version":1,'
    '"weight_decay":0.0005}'
)


def graphs(run: Any, **given: Any) -> Any:
    values: dict[str, Any] = {
        "nodes": torch.tensor([[0], [1], [2], [6], [5], [4]]),
        "edges": EDGES,
        "nodes_ptr": torch.tensor([0, 3, 6]),
        "edges_ptr": torch.tensor([0, 4, 8]),
        "labels": torch.tensor([0, 1]),
    }
    return run.distilled(**{**values, **given})


@pytest.fixture(scope="module")
def run(place: Path) -> Any:
    """What hands finished sets of digits to methods."""
    return pins.selected("random_subset", "images", place)[1]


@pytest.mark.parametrize(("name", "make"), DIGITS.items(), ids=list(DIGITS))
def test_a_set_of_given_images_has_the_content_and_the_hash_it_always_had(
    run: Any, name: str, make: Callable[[Any], Any]
) -> None:
    made = make(run)
    assert (pins.digest(made.content)[:16], made.hash) == IMAGE_SETS[name]


@pytest.mark.parametrize(("form", "expected"), ENCODED.items())
def test_the_content_of_a_compressed_set_is_what_it_always_was(run: Any, form: str, expected: str) -> None:
    made = run.distilled(sawtooth(10, 1, 8, 8) / 2, LABELS, encode=form)
    left = {name: value for name, value in made.content.items() if name not in ("bytes", "tensors")}
    assert pins.digest(left) == expected


def test_a_whitened_set_says_how_its_whitening_is_made(place: Path, home: Path) -> None:
    _, run = pins.selected("random_subset", "images", place, pixel_space="zca")
    made = run.distilled(sawtooth(10, 1, 8, 8), LABELS)
    assert made.content["pixels"]["recompute"] == WHITENING
    assert made.hash == "ed0dac8fd23d106678866f58046a14ea1cadee2aa82c324786f425c13b947007"


@pytest.mark.parametrize(("name", "given"), GRAPHS.items(), ids=list(GRAPHS))
def test_a_set_of_given_graphs_has_the_content_and_the_hash_it_always_had(
    place: Path, name: str, given: dict[str, Any]
) -> None:
    made = graphs(pins.selected("random_subset", "graphs", place)[1], **given)
    assert (pins.digest(made.content)[:16], made.hash) == GRAPH_SETS[name]


@pytest.mark.parametrize(("name", "kind", "ipc", "params", "expected"), SELECTED)
def test_a_set_that_needs_no_floating_point_has_the_hash_it_always_had(
    place: Path, name: str, kind: str, ipc: int, params: dict[str, str], expected: str
) -> None:
    assert pins.selected(name, kind, place, ipc, **params)[0].hash == expected


def test_a_stored_set_has_the_content_that_it_always_had_to_the_letter(place: Path, tmp_path: Path) -> None:
    made, _ = pins.selected("random_subset", "images", place)
    made.save(tmp_path / "set")
    manifest, files = pins.stored(tmp_path / "set")
    assert pins.canonical(manifest["content"]) == CONTENT
    assert files == ["README.md", "data.safetensors", "gallery.png", "set.json"]
    assert manifest["provenance"]["hash"] == made.hash == SELECTED[0][-1]


def test_the_manifest_of_a_published_chain_says_what_it_always_said(place: Path) -> None:
    content = pins.recited("dm+fyi", "mnist", 10, place, iterations="1", batch_real="1")
    assert content["method"]["source"].endswith(
        "around it, cvlab-yonsei/FYI; changed: iterations, batch_real"
    )
    assert pins.digest(content["method"])[:16] == "7afd200d8b46e2c9"
    assert pins.digest(content["protocol"])[:16] == "ecf4dd9e279bc2b4"


def test_stored_labels_are_described_as_they_always_were(place: Path) -> None:
    made, _ = pins.selected("random_subset+fkd", "images", place, fkd__epochs="2", fkd__kept="1")
    images = "1cde73c06f0f46c48aad8a1996056edeb8407f1525d312233946998035c09b38"
    assert pins.seen_hash(made) == images
    assert pins.canonical(made.content["label"]) == (
        '{"batch":128,"crop":"crop-flip","cutmix":1.0,"dtype":"float16","epochs":2,"images":"' + images + '",'
        '"kind":"replayed","mixup":null,"shards":1,'
        '"teacher":"9567c61ca8e1886b388a400d8dab98433b94bccfd44ccb27d4decf66680bbcf3","temperature":20.0,'
        '"top_k":null}'
    )
    content: dict[str, Any] = {**made.content}
    (shard,) = [{**one, "hash": ""} for one in content["replay"]]
    assert shard == {"bytes": 382, "file": "replay-00000.safetensors", "hash": ""}
    assert pins.entitled("x", 3) == '{"epoch":3,"images":"x"}'


def test_the_hash_of_tensors_covers_names_types_shapes_and_bytes() -> None:
    values = {"b": torch.tensor([[1, 2]], dtype=torch.uint8), "a": torch.tensor(0.5)}
    text = b'prefix["a","float32",[]]\x00\x00\x00\x3f["b","uint8",[1,2]]\x01\x02'
    assert pins.hash_tensors(values, "prefix") == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [
        (None, "ce23b29566c11e9b2050a08645f4b4480b6c252ff8b7c680ac369e974b839094"),
        (50.0, "101862e357ddefe690f6d8153b4358f6454518ab99e03e58c82513ed604c4dfe"),
    ],
)
def test_a_teacher_of_given_weights_has_the_hash_it_always_had(accuracy: float | None, expected: str) -> None:
    assert pins.teacher(accuracy).hash == expected


def test_the_shipped_teachers_are_those_that_they_always_were() -> None:
    assert pins.shipped() == {
        "digits": "9567c61ca8e1886b388a400d8dab98433b94bccfd44ccb27d4decf66680bbcf3",
        "fashion-mnist": "3301892729347f8b4404b8b669417e2c5f49ac7c57818a8598047d9f5885883a",
        "cifar10": "801f7269c04d4cfccce4b6272c0f3319c1c7d8698a389fcd4ff490ed70b77ef7",
    }


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_tensors_of_a_network_are_named_as_they_always_were(name: str) -> None:
    assert pins.digest(pins.parameters(name)[name])[:16] == PARAMETERS[name]


@pytest.mark.parametrize("name", TRAININGS)
def test_a_methods_training_is_described_as_it_always_was(name: str) -> None:
    assert pins.described(pins.training_of(name)) == TRAININGS[name]


def test_ncfms_training_is_described_as_it_always_was() -> None:
    assert pins.described(pins.training_of("ncfm", 3)) == NCFM


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("normalized", "c8221872b3a4de0111714799c16f57c8"),
        ("raw", "c8221872b3a4de0111714799c16f57c8"),
        ("zca", "3a384bd330a03c3935af73dc039b4059"),
    ],
)
def test_a_trained_network_lies_where_it_always_lay(home: Path, space: str, expected: str) -> None:
    assert f"trained/{expected}" in pins.network_place(home, pins.plain_training("convnet"), space)


def test_a_trained_teacher_lies_where_it_always_lay(tmp_path: Path) -> None:
    found = pins.network_place(tmp_path, pins.taught_training("convnet-bn"), "normalized")
    assert found == ["trained/491dd6c81869368e6fb2d14a893645c8"]


def test_a_network_of_ncfms_lies_where_it_always_lay(tmp_path: Path) -> None:
    found = pins.network_place(tmp_path, pins.training_of("ncfm", 3), "raw")
    assert found == ["trained/07c93bdf34cb2f04e504e1edebab00b1"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mtt", "9afb0bf385bba2ea6d94e892eae3f521"),
        ("ftd", "334632da5858f757af6f23a0cdd28fcc"),
        ("ast", "19e303b72bc74184e1204f3b8a3f15d9"),
        ("datm", "e6fa2181aee5ee83441a572bdf6d0e30"),
    ],
)
def test_experts_lie_where_they_always_lay(tmp_path: Path, name: str, expected: str) -> None:
    found = pins.expert_place(tmp_path, pins.training_of(name, network="convnet"), "normalized")
    assert found == [f"experts/{expected}/training-0-from-0-to-1"]


def test_a_trained_graph_network_lies_where_it_always_lay(tmp_path: Path) -> None:
    assert pins.graph_network_place(tmp_path) == ["trained/32f8a85c3c1f37b4c61c94e5644e4e42"]


def test_a_runs_checkpoints_lie_where_they_always_lay(tmp_path: Path) -> None:
    assert pins.run_place(tmp_path, "dm") == ["runs/8ccc293c32d8f8a94252c2a6f41b4116"]


def test_a_whitening_lies_where_it_always_lay(home: Path) -> None:
    place = "zca/1947ead93f1631b169a582cdfdf2102bf736b50ff643a76dc80a3deb000511dc"
    assert pins.whitening_place(home) == [place]


@pytest.mark.parametrize(
    ("name", "dataset", "ipc", "seed", "folder"),
    [
        ("dm", "digits", 1, 0, "digits-dm-ipc1-seed0-8ccc293c"),
        ("dm+fyi", "digits", 10, 3, "digits-dm+fyi-ipc10-seed3-df92970b"),
        ("mirage", "mutag", 2, 0, "mutag-mirage-ipc2-seed0-13cab02a"),
    ],
)
def test_a_set_is_stored_in_the_folder_that_it_always_was(
    tmp_path: Path, name: str, dataset: str, ipc: int, seed: int, folder: str
) -> None:
    assert pins.folder_of(name, dataset, ipc, seed, tmp_path) == folder


@pytest.mark.parametrize("path", sorted(pins.SETS.iterdir()), ids=lambda path: path.name)
def test_every_committed_set_verifies(path: Path) -> None:
    assert pins.verify(path) == pins.stored(path)[0]["provenance"]["hash"]
