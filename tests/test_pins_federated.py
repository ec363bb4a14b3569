"""Splits of the bundled digits and run keys of federations, which must never change."""

import pytest

from condense.data import ImageDataset
from condense.distillation.run import run_key
from condense.federated.algorithms import ALGORITHMS, chain
from condense.federated.splits import federation

SPLITS = {
    "dirichlet:5:0.5": (
        "d2b86a3864852374f87725ac85ce25b40b5a01eba10d25e273dc16fab202abaf",
        "befcb6db560dfc32f74fce5f16e5c0c64c5e1c380784b328b02aeccd8caeadbb",
    ),
    "dirichlet:3:0.1:7": (
        "aa736cffd9fd3e524914f6b3c5e690726ddcb1181d96b6c98f109cd5a606f207",
        "44bf514fcb7c3a7df7b8f2dc374c50ada15acc4e6ff9958173a548093ffefc30",
    ),
    "variants": (
        "bd158df7c3d8355c999defd5302ed1072970a313dfe41952b2632300a4d68a67",
        "29a485ad136c61e3e3316856822dd204c3b22bfc15df5e91a06fb9f3191b1443",
    ),
}
"""Hashes of all clients' training and test images."""

KEYS = {
    "fedlgd": "53d72395201e8b0af66808c56dfdbcdd9e858814ffcfcf0fc1f0bf38a032b34f",
    "fedavg": "3291a0840167aaf241de8d0f3f5c5f1b8cba7efc7d01a0217eb15b76012e6f28",
    "fedprox": "836fe223214de3b3b0906e5b2486516ab14dc8042fa5c7d39c122b6ea73cd1ce",
    "fednova": "b56b2b4e0c18f710df8b18b63683ccfa3179e4af4022c70e249a6a0e9db03daa",
    "scaffold": "ae8b058f8f1dd5e487ea3923c931c48934118d001d3395da78e87fb181eb8751",
    "vhl": "19d0491709883fb15e8444f503819a97092dbcc7a36a30d5c1256d5d5345eacf",
}
"""Run keys on the first of these splits, with five images of each class and seed 0."""


@pytest.mark.parametrize("clients", SPLITS)
def test_a_split_gives_every_client_the_same_images_on_every_machine(
    clients: str, digits: ImageDataset
) -> None:
    found = federation([digits], clients)
    assert (found.train_hash, found.test_hash) == SPLITS[clients]


def test_the_run_key_of_every_algorithm_is_pinned(digits: ImageDataset) -> None:
    found = federation([digits], "dirichlet:5:0.5")
    given = {**found.spec.given, "clients": "dirichlet:5:0.5"}
    keys = {
        name: run_key(chain(name, found.spec.name, 5, {}, "convnet").links(), found.train_hash, 5, 0, given)
        for name in ALGORITHMS
    }
    assert keys == KEYS
