"""The key of a trained student's result."""

from condense.files import digest


def evaluation_key(
    *,
    run_key: str,
    test_hash: str,
    protocol_hash: str,
    teacher: str | None,
    student: str,
    space: str,
    seed: int | None,
) -> str:
    """Returns the hash of everything that the result of one trained student depends on.

    Args:
        run_key: Hash of the method chain, its configuration, the training data, IPC and distillation seed.
        test_hash: Hash of the test split.
        protocol_hash: `condense.protocol.Protocol.hash`.
        teacher: Hash of the labelling teacher, if the protocol has one.
        student: Name of the student network.
        space: Pixel space in which the student is trained and tested.
        seed: Evaluation seed; None gives the key of the whole record.
    """
    return digest([run_key, test_hash, protocol_hash, teacher, student, space, seed])
