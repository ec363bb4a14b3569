"""What no change of the code may change in runs, protocols and records: their keys, and the records' places.

The literals are what the code gave when they were written down. Whoever moves or renames code changes
`tests.pins`, and no literal. A method with one more recipe, or of a higher version, has other digests: then,
and only then, they are written down anew.
"""

import hashlib
from pathlib import Path

import pytest

from tests import later_protocols, pins

METHODS: dict[str, tuple[str | int, ...]] = {
    "images ast": ("e2c37a764ab2a7ed", 5, "a42213119119809a", "9570a57a5021cf0d", "a8b4a40e177c5788"),
    "images cda": ("eb5507c731261798", 7, "04d950ec17f5eb9c", "bb82cacf11d6d380", "139c49e9a0934980"),
    "images datadam": ("9d45955953e5dc4b", 19, "478ee20d2c14c668", "1ecd1208bc98026e", "8ee7c741b4693e88"),
    "images datm": ("ef559dc3d1bbda6d", 12, "4ce25b8ef649cb19", "00a91c7d56c35441", "2e23c1cb3d0edfa1"),
    "images dc": ("57a4d4dc5960dfaf", 14, "e48ceab899cc257d", "531cd2c4c76a9f80", "6abb28d20c0045fc"),
    "images dm": ("8decc3ee53928145", 19, "2c67ae1dc7b02387", "9b23ce83470038d4", "9e7d2ebd603a5007"),
    "images dsa": ("d260b9215c874426", 14, "f2f2089e811a752d", "84b12aa361f21181", "6abb28d20c0045fc"),
    "images dwa": ("1f9888f648caec7d", 6, "d32df9455b9a5add", "001be58f1860b827", "8d2abae5cdcd1376"),
    "images el2n": ("2eb15c5c1201dda4",),
    "images forgetting": ("42a301d7234ffaae",),
    "images ftd": ("de186aa8facb4f2e", 8, "1b2a70484ad4cb0d", "69df0f9c87c2b8c6", "9852202d6a715543"),
    "images grand": ("9bde3c396ed24ed6",),
    "images hello": ("a3e705269bc65a8d", 6, "6b7dcacfecf53386", "52c8d1be1be662e1", "2267cf469e703366"),
    "images herding": ("65a1f2caaeb9678d",),
    "images idc": ("f3a2eb6109ea19c0", 14, "17316e7026a3cc34", "fd06ce0c88ae82fa", "b3aa6d095062ef40"),
    "images infer": ("efd5193e71d5f09e",),
    "images k_center": ("9bafba2193970217",),
    "images mtt": ("6b0095ee38b759b3", 9, "6ae5fb82b1a95571", "42835ae4326d5a22", "a5991983ced8ba44"),
    "images ncfm": ("5867f41855efa99a", 9, "db9c774713219ada", "dd655f89767c1726", "a6f51fc5352e5cfc"),
    "images rad": ("1bad732bac03aa70",),
    "images random_subset": ("23ee7b0d86a2dcf9",),
    "images rded": ("21d15fe4755ebf8a", 9, "2d9cda60c5078645", "d054723ce66a496d", "0a4396ff176b175a"),
    "images rs2": ("9552221e3844ec78", 9, "d73143b5168423c7", "75fcf19b058b0c13", "3c1e0a02f3b685ef"),
    "images sre2l": ("84b24a3dc9b2b4b3", 10, "09d4e05acfed7e46", "d3197e4423d6c708", "f237fec974f080a6"),
    "images tesla": ("dcf677c62f23de63", 2, "6857ff16eed69ef8", "2eec7429b9a92069", "8f7cd450627f6532"),
    "graphs doscond": ("13c3713c1a7e392c", 18, "1de725c1ff195119", "1c9b259ddbe06c1c", "62090ebd1e8c96f3"),
    "graphs herding": ("85b2d27d96b9aa80",),
    "graphs k_center": ("fc50ea68269976d9",),
    "graphs mirage": ("a1a45745e00e9b24", 7, "07b08b604ba34f87", "37a06e5154de9ef5", "283eb4c0087bc883"),
    "graphs random_subset": ("4c3687a1d1f845d5",),
}
"""Of each method the run key at its defaults, and where it has recipes: how many, and digests of their run
keys, of the protocols that they were published with, and of the sources that manifests cite."""

PUBLISHED = {
    ("images", "ast", "cifar10", 10): "97b556199619cffba32cf3cddcce3a9026681f641ef7e4fe3a5c9eec9548b3c5",
    ("images", "cda", "cifar100", 1): "a3d89724e2cda2a030a66ecae5c049cc302060a5eb9e4e5718ea1c1e0ff1b317",
    ("images", "datadam", "cifar10", 10): "64d39fd219aa51837c7977e30bac705220cd36281f185dd7dcb432b8aa089c82",
    ("images", "datm", "cifar10", 10): "99a3545b2838e6c28e9cadd46453d8b2a49d03e4b3bb324b3ee983971ab222d6",
    ("images", "dc", "cifar10", 10): "529bbe22476e756e7fb131804a48deb9ffa32f2e896e9d8038a553551cea3acc",
    ("images", "dm", "cifar10", 10): "50d5902d0fd195ac77671d1ed7e37b44896f710c536fd5285c380e4f44fd5668",
    ("images", "dsa", "cifar10", 10): "07f5adbcaa33c81f0ad400e57a918e4b8b6848da3e2a0212610cc16982b2e1e1",
    ("images", "dwa", "cifar10", 10): "e475d7d4a444f15f2e0e3fd3bb45d7c0b7398653581eefe3491c8edce9e7aca6",
    ("images", "ftd", "cifar10", 10): "b66e99ee9e95e1e749293e737f3fbc3d57319f1287ac28245bc29aad4f08ff66",
    ("images", "idc", "cifar10", 10): "2e774c3e06955d40e0b7a12112cad385edd48ed810a7afde4e1925ad8407b475",
    ("images", "mtt", "cifar10", 10): "ac3c0f0b650f68cd1fc82c99dbdbbf562541c10e69ea842fdc025df43ce94515",
    ("images", "ncfm", "cifar10", 10): "7fd7967bc59485d1094b5298ca01eb70b5b86408bcfbc5b340bde37943c05aad",
    ("images", "rded", "cifar10", 10): "e0ed59916e0bb36d7e1c5f010a99e73d0fc00ac1f597718f6e0719352f3ac49b",
    ("images", "sre2l", "cifar10", 10): "3a1c1785ae7179aa1ccfa04946549afc9d4db9fee88a751e439b08fefac6990c",
    ("images", "tesla", "cifar10", 1): "3bfa1aaf31cbfdca1a0ed921ead7161f563e2694525a2bc8a1b40b5473a8a6c7",
    ("graphs", "doscond", "dd", 1): "136a889e484d2fefc1a8322e7e4ca171a90ce1784762ecddb0c754d52025f8d8",
    ("graphs", "mirage", "dd", 28): "c9bdf7e28a609998e69880932b6d5e2e9603ad5d3228081c81062df365242b1a",
}
"""The run key of one recipe of each method in full."""

CHAINS = {
    ("dm+fyi", "none", 1): "b2af2eecfd293b9bff1f08eeb63d6a6b93afe52d778e9a16951b3d1d6a515b73",
    ("dm+fyi", "cifar10", 10): "e3e88099dc06d862216d1ea959afdbe02967b76c875dceef3bd3aab7ebadde2a",
    ("dsa+fyi", "none", 1): "a325f978d81b42f448e8423ed6787daa9bb5a097e11cf8fd7d9e51a6e6502765",
    ("dsa+fyi", "cifar10", 10): "9b24628bacbc8bf2774937c47a15fa0e1331f60110465d2c97230f5ed656a839",
    ("mtt+fyi", "none", 1): "6e0655a9ec5972cfe188499c275d9ab50d4416193110b1c8de9dbaa6141566f5",
    ("mtt+fyi", "cifar10", 10): "fc3af5904d183081267ea90d238d5fbbe21f7ca37fa1d5b5e94de7a6f9adb7a5",
    ("dm+fkd", "none", 1): "6505e918ed78f47d73fe8580851d93714e9773118458bbe88e9e96de039003be",
    ("dm+fkd", "cifar10", 10): "1c2f8969892c897e8b7748b17541997b32a43bdf16913a92ffbacc8866d770c6",
    ("random_subset+fkd", "none", 1): "a67d09b2d1096a0cf40fa776d51742247cd0ac9c46f181565faa9283db708fb5",
    ("random_subset+fkd", "cifar10", 10): "ff2b3f34148cb8e38296659ecee983b52f35d9f5a8b6c606c55f76b8d012499e",
    ("dwa+fkd", "none", 1): "e920171e0b273fad7321e62dc8dcaa65d359808eafc841beb77bd1aff8a3945b",
    ("dwa+fkd", "cifar10", 10): "a1c457f62d15760e0fd448b8dc48b2000507f24ebf88d4c0eb559a061625bffd",
    ("random_subset+kd", "none", 1): "b77544937eb3149f82e687b624dc65104ee8b36b4a6972d949fb8900e7420b08",
    ("random_subset+kd", "cifar10", 10): "5d21b1c87c0cd3c613ba7ea6467ce02d8121a19a9e595d2667874fa6ad1998aa",
    ("random_subset+expert", "none", 1): "9998a054b427b953167aa0045647203de7dce1f351cd4e053b3374560a582033",
    (
        "random_subset+expert",
        "cifar10",
        10,
    ): "09f042b28ee4a59ac42abdf0ad23856d4a15070a7cf5ba696bb5ceaa65c95cc1",
    ("random_subset+ferkd", "none", 1): "39078dd578c03b5a3fa6fcc68cf67d020b352aface8a558eb779ecba25fbf0d1",
    (
        "random_subset+ferkd",
        "cifar10",
        10,
    ): "2e3e8debdbb26cad1cbbad6b3937eadc145d889f0941e07413d5cc00322afb98",
}
"""Run keys of chains, at their defaults and published."""

TRAININGS = {
    ("random_subset", 0.1): "1436d6132994877fa75b4be665162db791b9fb070eda61c32fe3dc74c052ff09",
    ("random_subset+kd", 0.1): "2d314d297e5287a8087c64e9a529051e4911b061f93d42a836a122a5d5bbfcca",
    ("rs2", 0.05): "af6707cdf3eb262662a4ab0d39d76ff6312202bf11964e22bd9eb94038b1671c",
    ("forgetting", 0.3): "05825369a1f577a985a8d09a95e1c140db68366aea5b4c93777e662cc9c89dc4",
    ("rad", 0.5): "09b79fb88e5186c4d21774f57089989ab76a6c22e71d53b2d2358ba4e20f753a",
}
"""The run keys of trainings on fractions of the images, which store no set."""

CORRECTED = {
    ("mtt", "cifar100", 10): "d08b75520e0b0c8dc9f9a1fcf7352cd2faa40a943630b1f494d2589b6c6ebc9b",
    ("ast", "cifar100", 10): "58be1006eff34112684352bac13b9b9c7304e98040bd6dc48ddc2fd1efd4982b",
    ("ast", "cifar100", 50): "f68ac883a5e8b1275f394373185209ecb4bf3bfdbadadaa2173b2179d28d02ee",
    ("mtt+fyi", "cifar10", 10): "a7528c4e0035f00aa57c6fc4c3f0b998262106938daafab106b63ae311f7a65a",
}
"""Run keys of recipes that were corrected, as they are. Those of before are among the others here."""

SOURCES = {
    ("dm+fyi", "cifar10", 10): (
        "VICO-UoE/DatasetCondensation, README and defaults of main_DM.py (tiny-imagenet: from memory); "
        "around it, cvlab-yonsei/FYI",
        "ecf4dd9e279bc2b4",
    ),
    ("mtt+fyi", "cifar10", 10): (
        "justincui03/dc_benchmark, the commands for MTT that its author gave; around it, cvlab-yonsei/FYI",
        "1a615c5ac56900ae",
    ),
    ("dwa+fkd", "cifar10", 10): (
        "AngusDujw/Diversity-Driven-Synthesis, scripts/run_cifar.sh; around it, fkd at its defaults",
        "74234e98afe7498f",
    ),
    ("random_subset+fkd", "cifar10", 10): (None, "74234e98afe7498f"),
}
"""What the manifests of chains cite, and a digest of the protocol that they were published with."""

TAUGHT = {
    "sre2l": "4898d09c8edb8bb300849ccd3ca626a3cda9083b60f4d2fbaa597389be343ce9",
    "dwa+fkd": "14ecacf698a2b86c5ce3ecad8b2da13c9dca325d473672819e2299db46c4797f",
    "infer": "67c6f58897884a603f564650ea482ff5e8c348beb664d9a32446a36f6269cc3c",
    "rded": "2d3f57d3c4eb6196301e7149ec83cda75eebc8b784058f5d4180a3e384aef302",
}
"""Run keys with a teacher that is given by its hash."""

PROTOCOLS = {
    "hard-v1": '{"augment":"dsa","batch":256,"kind":"images","lr":0.01,"momentum":0.9,"name":"hard-v1",'
    '"optimizer":"sgd","reset":false,"seeds":5,"stages":[{"epochs":500,"scale":1.0},'
    '{"epochs":500,"scale":0.1}],"weight_decay":0.0005}',
    "whole-v1": '{"augment":"dsa","batch":256,"kind":"images","lr":0.01,"momentum":0.9,"name":"whole-v1",'
    '"optimizer":"sgd","reset":false,"seeds":3,"stages":[{"epochs":25,"scale":1.0},'
    '{"epochs":25,"scale":0.1}],"weight_decay":0.0005,"whole":true}',
    "soft-v1": '{"augment":"crop-flip","batch":128,"cutmix":1.0,"decay":"weights","kind":"images",'
    '"labels":"fixed","lr":0.001,"momentum":0.9,"name":"soft-v1","optimizer":"adamw","reset":false,'
    '"schedule":"cosine","seeds":3,"stages":[{"epochs":300,"scale":1.0}],"temperature":20.0,'
    '"weight_decay":0.01}',
    "replay-v1": '{"augment":"none","batch":128,"decay":"weights","kind":"images","labels":"stored",'
    '"lr":0.001,"momentum":0.9,"name":"replay-v1","optimizer":"adamw","reset":false,"schedule":"cosine",'
    '"seeds":3,"stages":[],"weight_decay":0.01}',
    "soft-v2": '{"augment":"crop-flip","batch":128,"batches":10,"cutmix":1.0,"decay":"weights",'
    '"kind":"images","labels":"fixed","least_batch":10,"least_steps":3000,"lr":0.001,'
    '"momentum":0.9,"name":"soft-v2","optimizer":"adamw","reset":false,'
    '"schedule":"cosine","seeds":3,"stages":[{"epochs":300,"scale":1.0}],'
    '"temperature":20.0,"weight_decay":0.01}',
    "replay-v2": '{"augment":"none","batch":128,"batches":10,"decay":"weights","kind":"images",'
    '"labels":"stored","least_batch":10,"least_steps":3000,"lr":0.001,"momentum":0.9,'
    '"name":"replay-v2","optimizer":"adamw","reset":false,"schedule":"cosine","seeds":3,'
    '"stages":[{"epochs":300,"scale":1.0}],"weight_decay":0.01}',
    "projected-v1": '{"augment":"crop-flip","batch":128,"batches":10,"cutmix":1.0,"decay":"weights",'
    '"kind":"images","labels":"projected","least_batch":10,"least_steps":3000,"lr":0.001,"momentum":0.9,'
    '"name":"projected-v1","optimizer":"adamw","reset":false,"schedule":"cosine","seeds":3,'
    '"stages":[{"epochs":300,"scale":1.0}],"weight_decay":0.01}',
    "label-v1": '{"augment":"crop-flip","batch":128,"batches":10,"cutmix":1.0,"decay":"weights",'
    '"kind":"images","least_batch":10,"least_steps":3000,"lr":0.001,"momentum":0.9,"name":"label-v1",'
    '"optimizer":"adamw","reset":false,"schedule":"cosine","seeds":3,'
    '"stages":[{"epochs":300,"scale":1.0}],"weight_decay":0.01}',
    "graph-v1": '{"augment":"none","batch":512,"kind":"graphs","lr":0.001,"momentum":0.9,"name":"graph-v1",'
    '"optimizer":"adam","reset":false,"seeds":10,"stages":[],"steps":300,"weight_decay":0.01}',
    "graph-whole-v1": '{"augment":"none","batch":128,"kind":"graphs","lr":0.001,"momentum":0.9,'
    '"name":"graph-whole-v1","optimizer":"adam","reset":false,"seeds":3,"stages":[],"steps":2000,'
    '"weight_decay":0.01,"whole":true}',
    "graph-select-v1": '{"augment":"none","batch":512,"kind":"graphs","lr":0.001,"momentum":0.9,'
    '"name":"graph-select-v1","optimizer":"adam","reset":false,"seeds":10,"select":"valid","stages":[],'
    '"steps":300,"weight_decay":0.01}',
    "graph-v2": '{"augment":"none","batch":512,"kind":"graphs","lr":0.001,"momentum":0.9,"name":"graph-v2",'
    '"optimizer":"adam","reset":false,"seeds":10,"stages":[],"steps":500,"weight_decay":0.0}',
    "graph-whole-v2": '{"augment":"none","batch":128,"kind":"graphs","lr":0.001,"momentum":0.9,'
    '"name":"graph-whole-v2","optimizer":"adam","reset":false,"seeds":3,"stages":[],"steps":2000,'
    '"weight_decay":0.0,"whole":true}',
    "graph-select-v2": '{"augment":"none","batch":512,"kind":"graphs","lr":0.001,"momentum":0.9,'
    '"name":"graph-select-v2","optimizer":"adam","reset":false,"seeds":10,"select":"valid",'
    '"stages":[],"steps":500,"weight_decay":0.0}',
    "reference-v1": '{"augment":"none","batch":0,"kind":"any","momentum":0.0,"name":"reference-v1",'
    '"optimizer":"lbfgs","reset":false,"seeds":1,"stages":[],"steps":10000,"weight_decay":1.0,"whole":true}',
    "hard-plain-v1": '{"augment":"none","batch":256,"kind":"images","lr":0.01,"momentum":0.9,'
    '"name":"hard-plain-v1","optimizer":"sgd","reset":false,"seeds":5,"stages":[{"epochs":500,"scale":1.0},'
    '{"epochs":500,"scale":0.1}],"weight_decay":0.0005}',
    "soft-plain-v2": '{"augment":"none","batch":128,"batches":10,"decay":"weights","kind":"images",'
    '"labels":"fixed","least_batch":10,"least_steps":3000,"lr":0.001,"momentum":0.9,"name":"soft-plain-v2",'
    '"optimizer":"adamw","reset":false,"schedule":"cosine","seeds":3,"stages":[{"epochs":300,"scale":1.0}],'
    '"temperature":20.0,"weight_decay":0.01}',
}
"""The suite's own protocols as canonical JSON, whose SHA-256 is a protocol's hash."""
PROTOCOLS |= later_protocols.PROTOCOLS

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
}
HASHES |= later_protocols.HASHES

SET_RECORDS = {
    ("random_subset", "hard-v1", "convnet"): (
        "ef4fc9553bfb4658d89d74e25bee86e750a7ecf214e24b048126a54bf01fae0c",
        "results/digits/random_subset-ipc1-seed0-hard-v1-convnet-ef4fc955.json",
    ),
    ("random_subset", "soft-v1", "convnet"): (
        "1f1a618f460029a980a6a64ede6957df9704cbe620a24f0114108c94afa73bae",
        "results/digits/random_subset-ipc1-seed0-soft-v1-convnet-1f1a618f.json",
    ),
    ("random_subset+fkd", "replay-v1", "convnet"): (
        "9496c1c8286e75687229627a545e2f2f4bfc3d3340ca4275b97f70a8d46fa8a5",
        "results/digits/random_subset+fkd-ipc1-seed0-replay-v1-convnet-9496c1c8.json",
    ),
    ("mirage", "graph-v1", "gcn-sum"): (
        "89e069b8d02c90933987dd87bbcc7810812b96eaeb8af29c06b17af170e49fe9",
        "results/mutag/mirage-ipc2-seed0-graph-v1-gcn-sum-89e069b8.json",
    ),
    ("mirage", "graph-select-v1", "gin-mean"): (
        "f814b79eec60f2aef87d7cf66ac9b2d778b23ab5e2b8475fbb9b03d4ff837a0f",
        "results/mutag/mirage-ipc2-seed0-graph-select-v1-gin-mean-f814b79e.json",
    ),
    ("mirage", "graph-v2", "gcn-sum"): (
        "f40123d2e55c2336ab873b950097eb7dde48f63ce90904d6524c3c166797dbf8",
        "results/mutag/mirage-ipc2-seed0-graph-v2-gcn-sum-f40123d2.json",
    ),
    ("mirage", "graph-select-v2", "gin-mean"): (
        "ba9c7462ca78ea23782c69c7361904ed53aecedee43e25dd7a2fd5936d402acf",
        "results/mutag/mirage-ipc2-seed0-graph-select-v2-gin-mean-ba9c7462.json",
    ),
}
"""Evaluation key and place of the records of sets, by method, protocol and student."""

REFERENCES = {
    ("whole", "whole-v1", "convnet"): (
        "29225c17524353a9ad8849c433c3acee06cf6235c8095623195d47213170fa0a",
        "results/digits/whole-ipc0-seed0-whole-v1-convnet-29225c17.json",
    ),
    ("majority", "reference-v1", "none"): (
        "610dddd2fef06226d8ae81f1ff63d78fee67102ec083c0046629a3fd8915f97c",
        "results/digits/majority-ipc0-seed0-reference-v1-none-610dddd2.json",
    ),
    ("whole", "graph-whole-v1", "gat-sum"): (
        "4d6aa722a72de4f0d794fc7956ebfe96db2eb31ae965beef12d2689d25b5cfb5",
        "results/mutag/whole-ipc0-seed0-graph-whole-v1-gat-sum-4d6aa722.json",
    ),
    ("num_nodes", "reference-v1", "none"): (
        "d80a2404067ba8f539f6eccd0a751c610e4436a04eae0faf1445576222cabf63",
        "results/mutag/num_nodes-ipc0-seed0-reference-v1-none-d80a2404.json",
    ),
    ("whole", "graph-whole-v2", "gat-sum"): (
        "f9d23fc39db45e7352d19ba1c5efa5d23c1b98e90070868a92beda69acfd5554",
        "results/mutag/whole-ipc0-seed0-graph-whole-v2-gat-sum-f9d23fc3.json",
    ),
}
"""The same of rows without a set."""


@pytest.mark.parametrize("both", METHODS)
def test_a_method_has_the_run_keys_and_sources_that_it_always_had(both: str) -> None:
    default, *published = METHODS[both]
    kind, name = both.split()
    assert pins.key(name, kind=kind)[:16] == default
    recipes = pins.recipes(name, kind)
    keys, protocols, sources = (
        pins.digest(values)[:16]
        for values in (
            [[dataset, ipc, key] for dataset, ipc, key, _, _ in recipes],
            [protocol for *_, protocol, _ in recipes],
            [source for *_, source in recipes],
        )
    )
    assert ([len(recipes), keys, protocols, sources] if recipes else []) == published


@pytest.mark.parametrize(("kind", "name", "dataset", "ipc"), PUBLISHED)
def test_one_published_run_key_of_each_method_in_full(kind: str, name: str, dataset: str, ipc: int) -> None:
    assert pins.key(name, dataset, ipc, kind) == PUBLISHED[kind, name, dataset, ipc]


@pytest.mark.parametrize(("name", "dataset", "ipc"), CHAINS)
def test_a_chain_has_the_run_key_that_it_always_had(name: str, dataset: str, ipc: int) -> None:
    assert pins.key(name, dataset, ipc) == CHAINS[name, dataset, ipc]


@pytest.mark.parametrize(("name", "fraction"), TRAININGS)
def test_a_training_on_a_fraction_has_the_run_key_that_it_always_had(name: str, fraction: float) -> None:
    assert pins.training_key(name, fraction) == TRAININGS[name, fraction]


@pytest.mark.parametrize(("name", "dataset", "ipc"), CORRECTED)
def test_a_corrected_recipe_has_another_key_and_the_old_one_with_its_old_settings(
    name: str, dataset: str, ipc: int
) -> None:
    assert pins.corrected_key(name, dataset, ipc) == CORRECTED[name, dataset, ipc]
    assert pins.key(name, dataset, ipc) != CORRECTED[name, dataset, ipc]


@pytest.mark.parametrize(("name", "dataset", "ipc"), SOURCES)
def test_a_chain_cites_the_sources_that_it_always_cited(name: str, dataset: str, ipc: int) -> None:
    source, protocol = pins.source_of(name, dataset, ipc)
    assert (source, pins.digest(protocol)[:16]) == SOURCES[name, dataset, ipc]


def test_a_changed_setting_is_named_behind_the_source() -> None:
    source, _ = pins.source_of("dm+fyi", "cifar10", 10, iterations="7", fyi__flip_first="false")
    assert source == SOURCES["dm+fyi", "cifar10", 10][0] + "; changed: iterations, fyi.flip_first"  # type: ignore[operator]


@pytest.mark.parametrize("name", TAUGHT)
def test_a_teachers_hash_enters_the_run_key(name: str) -> None:
    assert pins.key(name, teacher=pins.TEACHER) == TAUGHT[name]


def test_a_run_key_is_the_hash_of_chain_data_ipc_and_seed() -> None:
    text = (
        '{"chain":[{"config":{"batch_real":256,"iterations":500,"lr_images":0.05,"momentum":0.5,'
        '"network":"convnet","pixel_space":"normalized"},"name":"dm","version":1},'
        '{"config":{"flip_first":false},"name":"fyi","version":1}],"ipc":3,"seed":4,"train":"'
        + pins.TRAIN
        + '"}'
    )
    assert pins.seeded_key("dm+fyi", 3, 4) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_is_what_it_always_was(name: str) -> None:
    assert pins.protocols()[name] == (HASHES[name], PROTOCOLS[name])
    assert hashlib.sha256(PROTOCOLS[name].encode()).hexdigest() == HASHES[name]


def test_every_protocol_of_the_suite_is_pinned_here() -> None:
    assert set(pins.protocols()) == set(PROTOCOLS)


@pytest.mark.parametrize(("name", "protocol", "student"), SET_RECORDS)
def test_a_sets_record_has_the_key_and_the_file_it_always_had(
    name: str, protocol: str, student: str, tmp_path: Path
) -> None:
    given = {"fkd__epochs": "1"} if name.endswith("+fkd") else {}
    kind, ipc = ("graphs", 2) if name == "mirage" else ("images", 1)
    made, _ = pins.selected(name, kind, tmp_path, ipc, **given)
    record = pins.judged(made, protocol, student, taught=protocol == "soft-v1")
    assert pins.placed(record) == SET_RECORDS[name, protocol, student]


@pytest.mark.parametrize(("name", "protocol", "student"), REFERENCES)
def test_a_reference_has_the_key_and_the_file_it_always_had(
    name: str, protocol: str, student: str, tmp_path: Path
) -> None:
    graphs = "graph" in protocol or name == "num_nodes"
    record = pins.referred(name, protocol, student, graphs=graphs, results=tmp_path)
    assert pins.placed(record) == REFERENCES[name, protocol, student]


def test_a_record_of_made_up_values_is_written_as_it_always_was() -> None:
    record = pins.made_up_record()
    assert pins.placed(record) == (
        "6d8ccf2d30a63776f20142d4170610a89137e153fcb916bf3de2eba33f5cc7cd",
        "results/a_b/dm+fyi-ipc1-seed2-soft-v1-convnet-6d8ccf2d.json",
    )
    assert pins.entry_key(record, 3) == "4cc6c730f04a00bd6c1a9f80738751ed2b13e4680650af3debb4b3564339409a"
    text = pins.text_of(record)
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "9ed108c8f3617c2cde8fac5804fc89c4ee26aa189a6a8a69a8103b9927bdd069"
    )


def test_every_committed_record_lies_at_its_place_and_would_be_written_as_it_is() -> None:
    found = 0
    for path, place, text in pins.committed():
        assert path.as_posix() == place
        assert path.read_text() == text
        found += 1
    assert found > 1000
