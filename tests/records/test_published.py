"""The published numbers: every one has a source and says whether it was verified."""

import pytest

from condense.errors import Refused
from condense.networks import GRAPH_NETWORKS, NETWORKS
from condense.records.published import COLUMNS, lookup, parse_published, read_published

HEAD = ",".join(COLUMNS)
ROW = "cifar10,dm,10,convnet,48.9,0.6,its own,a table,yes,"

DATASETS = (
    "mnist fashion-mnist svhn cifar10 cifar100 tiny-imagenet imagenette imagewoof imagefruit imageyellow "
    "imagemeow imagesquawk imagenet-1k imagenet-100 mutag nci1 proteins dd imdb-binary molbace molbbbp "
    "molhiv DIGITS{domains} CIFAR10C{domains}"
).split()


def test_every_published_number_is_sound() -> None:
    table = read_published()
    assert len(table) > 300
    for number in table.values():
        source, _, target = number.dataset.partition("->")
        assert source in DATASETS and (not target or target in DATASETS)
        assert number.student in (*NETWORKS, *GRAPH_NETWORKS)
        assert 0 <= number.paper.value <= 100
        assert number.paper.error is None or 0 <= number.paper.error < 10
        assert number.paper.source and number.paper.protocol
        assert (number.ipc == 0) == (number.method == "whole")


def test_a_number_of_a_convnet_that_was_its_own_teacher_says_so() -> None:
    for number in read_published().values():
        if number.student == "convnet-bn" and number.method in ("dwa", "rded", "infer"):
            assert number.paper.protocol.startswith("distilled with a ConvNet, teacher and student alike; ")


def test_numbers_of_batch_norm_networks_stand_beside_such_students() -> None:
    whole = [
        number
        for number in read_published().values()
        if number.method == "whole" and "resnet" in number.student
    ]
    assert whole and all(number.student.endswith("-bn") for number in whole)


def test_what_is_from_memory_is_not_verified() -> None:
    recalled = [number for number in read_published().values() if "memory" in number.paper.source]
    assert recalled and not any(number.paper.verified for number in recalled)


def test_no_number_of_the_dc_family_is_above_the_whole_set() -> None:
    for number in read_published().values():
        whole = lookup(number.dataset, "whole", 0, number.student)
        if whole and number.student == "convnet" and number.method in ("dc", "dsa", "dm", "random_subset"):
            assert number.paper.value < whole.paper.value


def test_accuracy_grows_with_ipc_for_random_subsets() -> None:
    by_ipc: dict[str, dict[int, float]] = {}
    for number in read_published().values():
        if number.method == "random_subset":
            by_ipc.setdefault(number.dataset, {})[number.ipc] = number.paper.value
    for values in by_ipc.values():
        ordered = [values[ipc] for ipc in sorted(values)]
        assert ordered == sorted(ordered)


def test_a_known_number_is_found_and_an_unknown_place_is_none() -> None:
    found = lookup("cifar10", "dm", 50, "convnet")
    assert found is not None
    assert (found.paper.value, found.paper.error, found.paper.verified) == (63.0, 0.4, True)
    assert lookup("cifar10", "dm", 51, "convnet") is None


def test_a_second_number_for_a_place_is_refused() -> None:
    with pytest.raises(Refused, match="line 3: a second number"):
        parse_published([HEAD, ROW, ROW.replace("48.9", "49.0")])


@pytest.mark.parametrize(
    "row",
    [
        ROW.replace("yes", "maybe"),
        ROW.replace("48.9", "148.9"),
        ROW.replace("48.9", "many"),
        ROW.replace("48.9", "nan"),
        ROW.replace("a table", ""),
        ROW + ",more",
        "cifar10,dm",
    ],
)
def test_a_malformed_row_is_refused_with_its_line(row: str) -> None:
    with pytest.raises(Refused, match="line 2"):
        parse_published([HEAD, row])


def test_other_columns_are_refused() -> None:
    with pytest.raises(Refused, match="columns"):
        parse_published(["dataset,value", "cifar10,1"])
