import json
from dataclasses import replace

import pytest

from condense.distillation.matching.protocols import dc_evaluation, milestones
from condense.errors import Refused
from condense.protocol import OPTIMIZERS, Part, Protocol, Stage
from condense.protocols import (
    FEDERATED_HALF_V1,
    FEDERATED_SHORT_V1,
    FEDERATED_V1,
    GRAPH_SELECT_V1,
    GRAPH_SELECT_V2,
    GRAPH_V1,
    GRAPH_V2,
    GRAPH_WHOLE_V1,
    GRAPH_WHOLE_V2,
    HARD_V1,
    LABEL_V1,
    PROTOCOLS,
    PRUNE_SHORT_V1,
    PRUNE_V1,
    REFERENCE_V1,
    REPLAY_V1,
    REPLAY_V2,
    SOFT_V1,
    SOFT_V2,
    SUPERSEDED,
    WHOLE_CURVE_V1,
    WHOLE_V1,
    named_protocol,
)
from tests import later_protocols

HASHES = {
    "hard-v1": "f10d787cb9c98b7ce1011e2380f3e4798b40472dbec5066a0a751f0f770ea61a",
    "whole-v1": "c0e8724f2369d5a83a34649fdf0549c32ab3f4075db440876e8ed55fde93bbe5",
    "soft-v1": "f75e8d1754c7ab80a52bed90e2ad40171e7c7f6990f5d6e05a642c967d988aae",
    "replay-v1": "07b4f87059c8da4ad4d567c153be863a5bafb6faaaad84c833a44106701085a7",
    "soft-v2": "756238ade4a62ac06ee1ac4a194ad5cf3a2657df249c93261cc948b3f1abeeb1",
    "replay-v2": "01b2ce26062bc5d796cf672ddff5e911e0ebe494c26b96f11ca1f71c4f2fd08f",
    "projected-v1": "623029c3b632b5e843058b324711af3b20656366651f36e7c3b12d893f7fd961",
    "label-v1": "45047c3b90f926b42d4ead653778dc037620ec17d72555c235f45bdb8f664c28",
    "graph-v1": "82bf1b482c90e7518c5b3ecfdfb00bc9a3616fef8fd200f7d51cbb320afdbddc",
    "graph-whole-v1": "f405e78f3440b7e2966988de29057984a13ff90304a6c431fa549a991c338a35",
    "graph-select-v1": "6bf335a4e45d4fee2b9ae461fb6f0bb6eece22d7bd8ace0de8f97cf440b0d258",
    "graph-v2": "db4b9806a0fb535ba58a269e17a52dc9419a43e24e6f43645461d4698da229c2",
    "graph-whole-v2": "c32c914037e6543f5a48dfa636c74e06fe21a827a6525a09b89dfb4975fc6ca2",
    "graph-select-v2": "3dd93f0c118affc62971865d6819c0cd468a00a5aaffcf28ddf6fec1ec9ced18",
    "reference-v1": "20ff0dddcd45382110a96202dfe3068fec557646ce86a640c8564f897e178af4",
    "hard-plain-v1": "d11fcd26da01507489b93bbfd9b078b6788bc12279c59bb90bbcea10988ce01b",
    "soft-plain-v2": "d2e1999b9ef2618985c9174627aa49009e088c6fe1d0e09bf79db048e8c2b562",
} | later_protocols.HASHES
"""Hashes of the protocols. A protocol with another hash needs another name."""

PUBLISHED = {
    (300, "none"): "878ac45bac1ef1cd39096236d5c9cdd17463bca46e20aa3a25417ddd13181f3a",
    (1000, "dc:crop_scale_rotate"): "9feaa4a47e1f55a551d45533c902b619fc418fd7b4fd17026f47d28dfcebac24",
    (1000, "dsa"): "ba9d30d18e5fe2f938483c196497187081296fd39634dc82b8aa70633ff29d4a",
}
"""Hashes of the published protocols of DC, DSA and DM, which occur in records."""


def test_the_protocols_do_not_change() -> None:
    assert {name: protocol.hash for name, protocol in PROTOCOLS.items()} == HASHES
    assert all(protocol.name == name for name, protocol in PROTOCOLS.items())


def test_the_published_protocols_in_records_do_not_change() -> None:
    assert {key: dc_evaluation(key[0], augment=key[1]).hash for key in PUBLISHED} == PUBLISHED


def test_hard_v1_has_the_designed_values() -> None:
    assert HARD_V1.to_json() == {
        "name": "hard-v1",
        "optimizer": "sgd",
        "lr": 0.01,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "batch": 256,
        "stages": [{"epochs": 500, "scale": 1.0}, {"epochs": 500, "scale": 0.1}],
        "reset": False,
        "augment": "dsa",
        "seeds": 5,
        "kind": "images",
    }
    assert HARD_V1.epochs == 1000


def test_whole_v1_differs_from_hard_v1_in_data_length_and_seeds() -> None:
    changed = {"name": "whole-v1", "seeds": 3, "whole": True}
    stages = [{"epochs": 25, "scale": 1.0}, {"epochs": 25, "scale": 0.1}]
    assert WHOLE_V1.to_json() == HARD_V1.to_json() | changed | {"stages": stages}


def test_prune_v1_has_the_numbers_of_the_papers_and_its_short_form_fewer_epochs() -> None:
    assert PRUNE_V1.to_json() == {
        "name": "prune-v1",
        "optimizer": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 0.0005,
        "batch": 128,
        "stages": [{"epochs": 200, "scale": 1.0}],
        "schedule": "step-cosine",
        "floor": 0.0001,
        "reset": False,
        "augment": "crop-flip",
        "seeds": 3,
        "kind": "images",
        "pruned": True,
    }
    short = {"name": "prune-short-v1", "stages": [{"epochs": 40, "scale": 1.0}], "seeds": 2}
    assert PRUNE_SHORT_V1.to_json() == PRUNE_V1.to_json() | short
    curve = {"name": "whole-curve-v1", "validation": True}
    assert WHOLE_CURVE_V1.to_json() == WHOLE_V1.to_json() | curve


def test_federated_v1_has_the_numbers_of_fedlgd_and_its_variants_one_other_each() -> None:
    assert FEDERATED_V1.to_json() == {
        "name": "federated-v1",
        "optimizer": "sgd",
        "lr": 0.01,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "batch": 32,
        "stages": [{"epochs": 1, "scale": 1.0}],
        "reset": False,
        "augment": "none",
        "seeds": 3,
        "kind": "images",
        "rounds": 100,
        "client_ratio": 1.0,
    }
    half = {"name": "federated-half-v1", "client_ratio": 0.5}
    assert FEDERATED_HALF_V1.to_json() == FEDERATED_V1.to_json() | half
    assert FEDERATED_SHORT_V1.to_json() == FEDERATED_V1.to_json() | {
        "name": "federated-short-v1",
        "rounds": 20,
    }


@pytest.mark.parametrize(("rounds", "ratio"), [(0, 1.0), (5, None), (None, 0.5)])
def test_rounds_and_the_ratio_of_clients_go_together(rounds: int | None, ratio: float | None) -> None:
    with pytest.raises(Refused, match="at least one round and a ratio of clients"):
        replace(FEDERATED_V1, rounds=rounds, client_ratio=ratio)


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.5])
def test_a_ratio_of_clients_out_of_range_is_refused(ratio: float) -> None:
    with pytest.raises(Refused, match="client_ratio"):
        Protocol.from_json(FEDERATED_V1.to_json() | {"client_ratio": ratio})


def test_soft_v1_has_the_designed_values() -> None:
    assert SOFT_V1.to_json() == {
        "name": "soft-v1",
        "optimizer": "adamw",
        "lr": 0.001,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "decay": "weights",
        "batch": 128,
        "stages": [{"epochs": 300, "scale": 1.0}],
        "schedule": "cosine",
        "reset": False,
        "augment": "crop-flip",
        "cutmix": 1.0,
        "labels": "fixed",
        "temperature": 20.0,
        "seeds": 3,
        "kind": "images",
    }


def test_replay_v1_trains_like_soft_v1_on_the_stored_views() -> None:
    values = SOFT_V1.to_json() | {"name": "replay-v1", "stages": [], "augment": "none", "labels": "stored"}
    assert REPLAY_V1.to_json() == {k: v for k, v in values.items() if k not in ("cutmix", "temperature")}


def test_the_second_versions_differ_from_the_first_in_what_they_ask_of_small_sets() -> None:
    long = {"batches": 10, "least_batch": 10, "least_steps": 3000}
    assert SOFT_V2.to_json() == SOFT_V1.to_json() | {"name": "soft-v2"} | long
    assert REPLAY_V2.to_json() == REPLAY_V1.to_json() | {"name": "replay-v2"} | long | {
        "stages": SOFT_V1.to_json()["stages"]
    }


def test_under_soft_v2_no_set_gets_fewer_than_3000_steps() -> None:
    for n in (1, 2, 9, 10, 15, 99, 100, 101, 500, 1279, 1280, 50_000):
        batch, epochs = SOFT_V2.batch_for(n), SOFT_V2.epochs_for(n)
        assert (batch, epochs) == (REPLAY_V2.batch_for(n), REPLAY_V2.epochs_for(n))
        assert batch == min(n, max(10, min(128, n // 10))) and epochs >= 300
        assert epochs * -(-n // batch) >= 3000
    numbers = {n: (SOFT_V2.batch_for(n), SOFT_V2.epochs_for(n)) for n in (10, 100, 500, 10_000)}
    assert numbers == {10: (10, 3000), 100: (10, 300), 500: (50, 300), 10_000: (128, 300)}


def test_label_v1_trains_like_soft_v2_on_a_sets_own_labels() -> None:
    values = SOFT_V2.to_json() | {"name": "label-v1"}
    assert LABEL_V1.to_json() == {k: v for k, v in values.items() if k not in ("labels", "temperature")}


def test_a_superseded_protocol_has_a_successor_that_is_not_superseded() -> None:
    for old, new in SUPERSEDED.items():
        assert PROTOCOLS[old].kind == PROTOCOLS[new].kind and new not in SUPERSEDED
        assert old.rpartition("-v")[0] == new.rpartition("-v")[0]
    newest = {name.rpartition("-v")[0]: name for name in PROTOCOLS}
    assert set(SUPERSEDED) == set(PROTOCOLS) - set(newest.values())


def test_the_protocols_for_graphs_have_the_designed_values() -> None:
    assert GRAPH_V1.to_json() == {
        "name": "graph-v1",
        "optimizer": "adam",
        "lr": 0.001,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "batch": 512,
        "stages": [],
        "steps": 300,
        "reset": False,
        "augment": "none",
        "seeds": 10,
        "kind": "graphs",
    }
    whole = {"name": "graph-whole-v1", "batch": 128, "steps": 2000, "seeds": 3, "whole": True}
    assert GRAPH_WHOLE_V1.to_json() == GRAPH_V1.to_json() | whole
    select = {"name": "graph-select-v1", "select": "valid"}
    assert GRAPH_SELECT_V1.to_json() == GRAPH_V1.to_json() | select


def test_the_second_protocols_for_graphs_decay_no_weights() -> None:
    changed = {"weight_decay": 0.0, "steps": 500}
    assert GRAPH_V2.to_json() == GRAPH_V1.to_json() | changed | {"name": "graph-v2"}
    whole = {"name": "graph-whole-v2", "weight_decay": 0.0}
    assert GRAPH_WHOLE_V2.to_json() == GRAPH_WHOLE_V1.to_json() | whole
    select = {"name": "graph-select-v2", "select": "valid"}
    assert GRAPH_SELECT_V2.to_json() == GRAPH_V2.to_json() | select


def test_references_evaluate_any_kind_of_data_with_one_seed() -> None:
    assert (REFERENCE_V1.kind, REFERENCE_V1.seeds, REFERENCE_V1.whole) == ("any", 1, True)
    assert (REFERENCE_V1.optimizer, REFERENCE_V1.weight_decay) == ("lbfgs", 1.0)


@pytest.mark.parametrize(
    "protocol",
    [
        HARD_V1,
        WHOLE_V1,
        replace(HARD_V1, lr=None),
        replace(HARD_V1, lr=None, whole=True, reset=True, stages=()),
        dc_evaluation(300, augment="dc:crop_scale_rotate", seeds=20, batch=128),
        replace(HARD_V1, optimizer="adamw", lr=1e-3, weight_decay=0.01, cutmix=0.5, augment="crop-flip"),
        milestones(1000, batch=64, augment="dsa:flip+color+crop_scale_rotate", cutmix=1.0),
        milestones(7, at=(), augment="none", optimizer="adamw"),
        SOFT_V1,
        REPLAY_V1,
        GRAPH_V1,
        GRAPH_WHOLE_V1,
        GRAPH_SELECT_V1,
        GRAPH_V2,
        GRAPH_WHOLE_V2,
        GRAPH_SELECT_V2,
        REFERENCE_V1,
        PRUNE_V1,
        WHOLE_CURVE_V1,
        replace(HARD_V1, stages=(Stage(epochs=3), Stage(epochs=4, scale=0.5, momentum=0.8))),
        replace(HARD_V1, schedule="half-cosine", warmup=5, mixup=0.8, labels="own", temperature=30.0,
                squared=True, teacher_mode="train"),
    ],
)  # fmt: skip
def test_a_protocol_is_restored_from_json_with_its_hash(protocol: Protocol) -> None:
    back = Protocol.from_json(json.loads(json.dumps(protocol.to_json())))
    assert back == protocol and back.hash == protocol.hash


def test_the_hash_covers_every_field() -> None:
    changes: list[dict[str, object]] = [
        {},
        {"name": "other"},
        {"optimizer": "adamw"},
        {"lr": None},
        {"lr": 0.02},
        {"momentum": 0.0},
        {"weight_decay": 0.0},
        {"batch": 128},
        {"stages": (Stage(epochs=500), Stage(epochs=500, scale=0.2))},
        {"stages": (Stage(epochs=500), Stage(epochs=501, scale=0.1))},
        {"reset": True},
        {"augment": "none"},
        {"cutmix": 1.0},
        {"cutmix": 0.5},
        {"seeds": 6},
        {"kind": "graphs"},
        {"whole": True},
        {"schedule": "cosine"},
        {"schedule": "half-cosine"},
        {"warmup": 5},
        {"decay": "weights"},
        {"mixup": 0.8},
        {"labels": "stored"},
        {"labels": "fixed", "temperature": 20.0},
        {"rounds": 3, "client_ratio": 0.5},
        {"rounds": 4, "client_ratio": 0.5},
        {"rounds": 3, "client_ratio": 1.0},
        {"labels": "own", "temperature": 20.0},
        {"labels": "own", "temperature": 30.0},
        {"squared": True},
        {"teacher_mode": "train"},
        {"select": "valid"},
        {"batches": 10, "least_batch": 10},
        {"batches": 20, "least_batch": 10},
        {"batches": 10, "least_batch": 20},
        {"least_steps": 3000},
        {"schedule": "step-cosine", "floor": 0.0},
        {"schedule": "step-cosine", "floor": 0.001},
        {"nesterov": True},
        {"pruned": True},
        {"validation": True},
        {"ema": 0.995},
        {"tune": Part(steps=5)},
        {"tune": Part(epochs=5)},
        {"tune": Part(steps=5, frozen=True)},
        {"tune": Part(steps=5), "regress": Part(epochs=1)},
        {"tune": Part(steps=5), "regress": Part(epochs=1, lr=0.0)},
        {"stages": ()},
        {"stages": (), "steps": 300},
        {"stages": (), "steps": 301},
        {"stages": (Stage(epochs=500), Stage(epochs=500, scale=0.1, momentum=0.8))},
    ]
    assert set(Protocol.__dataclass_fields__) == {name for change in changes for name in change}
    assert len({replace(HARD_V1, **change).hash for change in changes}) == len(changes)  # type: ignore[arg-type]


def test_fields_of_none_do_not_occur_in_the_json() -> None:
    off = {name for name in Protocol.__dataclass_fields__ if getattr(HARD_V1, name) is None}
    assert len(off) == 24 and not off & set(HARD_V1.to_json())
    assert all(stage.to_json() == {"epochs": 500, "scale": stage.scale} for stage in HARD_V1.stages)
    assert "lr" not in replace(HARD_V1, lr=None).to_json()


def test_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(Refused, match="does not know the protocol field 'smoothing'"):
        Protocol.from_json(HARD_V1.to_json() | {"smoothing": 0.2})
    stages = [{"epochs": 500, "scale": 1.0, "batch": 3}]
    with pytest.raises(Refused, match="does not know the field 'batch' of a protocol's stage"):
        Protocol.from_json(HARD_V1.to_json() | {"stages": stages})


def test_an_unknown_optimiser_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Refused, match="unknown optimizer 'adma'; nearest: adam, adamw"):
        Protocol.from_json(HARD_V1.to_json() | {"optimizer": "adma"})
    with pytest.raises(Refused, match="unknown optimizer 'lion'; known: adam, adamw, lbfgs, sgd"):
        replace(HARD_V1, optimizer="lion")
    for name in OPTIMIZERS:
        assert Protocol.from_json(HARD_V1.to_json() | {"optimizer": name}).optimizer == name


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"schedule": "cosin"}, "unknown schedule 'cosin'; known: cosine"),
        ({"decay": "all"}, "unknown decay 'all'; known: weights"),
        ({"labels": "teacher"}, "unknown labels 'teacher'"),
        ({"labels": "fixed"}, "hard-v1: labels=fixed need a temperature"),
        ({"labels": "own"}, "hard-v1: labels=own need a temperature"),
        ({"labels": "projected", "temperature": 2.0}, "hard-v1: labels=projected have no temperature"),
        ({"teacher_mode": "eval"}, "unknown teacher_mode 'eval'; known: train"),
        ({"select": "test"}, "unknown select 'test'; known: valid"),
        ({"steps": 300}, "hard-v1: the length of training is given by steps or by stages, not by both"),
        ({"batches": 10}, "hard-v1: batches and least_batch go together"),
        ({"batches": 0, "least_batch": 10}, "hard-v1: batches and least_batch .* are at least 1"),
        ({"ema": 1.0}, "hard-v1: an average of weights whose decay is 1 takes in nothing"),
        ({"cutmix": 1.0, "mixup": 0.8}, "hard-v1: a batch is mixed by cutmix or by mixup, not by both"),
    ],
)
def test_contradictory_protocols_are_refused(changed: dict[str, object], words: str) -> None:
    with pytest.raises(Refused, match=words):
        Protocol.from_json(HARD_V1.to_json() | changed)


def test_an_unknown_protocol_is_refused_with_the_nearest_names() -> None:
    assert named_protocol("hard-v1") is HARD_V1 and named_protocol("whole-v1") is WHOLE_V1
    with pytest.raises(Refused, match="protocol='hard-v2': unknown protocol; nearest: hard-v1"):
        named_protocol("hard-v2")
