"""Protocols of a training in parts: what a part changes, and what is refused."""

import json
from dataclasses import replace

import pytest

from condense.errors import Refused
from condense.protocol import Part, Protocol, Stage
from condense.protocols import HARD_V1, TRANSFER_PROBE_V1, TRANSFER_SHORT_V1, TRANSFER_V1


def test_a_part_takes_the_place_of_the_protocols_own_fields() -> None:
    assert TRANSFER_V1.tune is not None and TRANSFER_V1.regress is not None
    tuned, regressed = (TRANSFER_V1.of_part(part) for part in (TRANSFER_V1.tune, TRANSFER_V1.regress))
    assert (tuned.steps, tuned.lr, tuned.weight_decay, tuned.floor) == (10_000, 0.01, 5e-4, 0.0)
    assert tuned.lasting(60_000) == (Stage(epochs=43),)  # 42 epochs of 235 steps, and some of the next one
    assert (regressed.lr, regressed.weight_decay, regressed.augment) == (0.1, 1e-3, "none")
    assert regressed.epochs == 1000 and regressed.batch == TRANSFER_V1.batch == 256
    assert all(part.tune is None and part.regress is None for part in (tuned, regressed))


@pytest.mark.parametrize(
    "change",
    [
        {"tune": Part()},
        {"tune": Part(steps=1, epochs=1)},
        {"regress": Part(epochs=1)},
        {"tune": Part(steps=1), "regress": Part(epochs=1, frozen=True)},
    ],
)
def test_parts_without_one_length_or_out_of_place_are_refused(change: dict[str, Part]) -> None:
    with pytest.raises(Refused, match="part is given by epochs or by steps|regress trains a whole network"):
        replace(HARD_V1, **change)  # type: ignore[arg-type]


def test_an_unknown_field_of_a_part_is_refused_by_name() -> None:
    values = TRANSFER_V1.to_json()
    values["tune"] = {"steps": 1, "colour": 3}
    with pytest.raises(Refused, match="does not know the field 'colour' of tune"):
        Protocol.from_json(values)


@pytest.mark.parametrize("protocol", [TRANSFER_V1, TRANSFER_SHORT_V1, TRANSFER_PROBE_V1])
def test_a_protocol_with_parts_is_restored_from_json_with_its_hash(protocol: Protocol) -> None:
    back = Protocol.from_json(json.loads(json.dumps(protocol.to_json())))
    assert back == protocol and back.hash == protocol.hash
