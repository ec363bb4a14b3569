"""The key of a trained student's result."""

import hashlib
from collections.abc import Iterable

from condense.files import canonical


def evaluation_keys(
    *,
    run_key: str,
    test_hash: str,
    protocol_hash: str,
    teacher: str | None,
    student: str,
    space: str,
    seeds: Iterable[int | None],
) -> list[str]:
    """Returns the hash of everything that the result of a trained student depends on, for each seed.

    It is the `condense.files.digest` of the list of these values.

    Args:
        run_key: Hash of the method chain, its configuration, the training data, IPC and distillation seed.
        test_hash: Hash of the test split.
        protocol_hash: `condense.protocol.Protocol.hash`.
        teacher: Hash of the labelling teacher, if the protocol has one.
        student: Name of the student network.
        space: Pixel space in which the student is trained and tested.
        seeds: Evaluation seeds; None gives the key of the whole record.
    """
    start = canonical([run_key, test_hash, protocol_hash, teacher, student, space]).removesuffix("]")
    ends = ("null" if seed is None else seed for seed in seeds)
    return [hashlib.sha256(f"{start},{end}]".encode()).hexdigest() for end in ends]
