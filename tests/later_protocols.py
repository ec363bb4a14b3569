"""The later protocols that `tests/test_pins.py` pins, as canonical JSON and by their hashes; never edited."""

PROTOCOLS = {
    "whole-curve-v1": '{"augment":"dsa","batch":256,"kind":"images","lr":0.01,"momentum":0.9,'
    '"name":"whole-curve-v1",'
    '"optimizer":"sgd","reset":false,"seeds":3,"stages":[{"epochs":25,"scale":1.0},{"epochs":25,'
    '"scale":0.1}],"validation":true,"weight_decay":0.0005,"whole":true}',
    "prune-v1": '{"augment":"crop-flip","batch":128,"floor":0.0001,"kind":"images","lr":0.1,"momentum":0.9,'
    '"name":"prune-v1","nesterov":true,"optimizer":"sgd","pruned":true,"reset":false,'
    '"schedule":"step-cosine","seeds":3,"stages":[{"epochs":200,"scale":1.0}],"weight_decay":0.0005}',
    "prune-short-v1": '{"augment":"crop-flip","batch":128,"floor":0.0001,"kind":"images","lr":0.1,'
    '"momentum":0.9,'
    '"name":"prune-short-v1","nesterov":true,"optimizer":"sgd","pruned":true,"reset":false,'
    '"schedule":"step-cosine","seeds":2,"stages":[{"epochs":40,"scale":1.0}],"weight_decay":0.0005}',
    "federated-v1": '{"augment":"none","batch":32,"client_ratio":1.0,"kind":"images","lr":0.01,'
    '"momentum":0.0,'
    '"name":"federated-v1","optimizer":"sgd","reset":false,"rounds":100,"seeds":3,'
    '"stages":[{"epochs":1,"scale":1.0}],"weight_decay":0.0}',
    "federated-half-v1": '{"augment":"none","batch":32,"client_ratio":0.5,"kind":"images","lr":0.01,'
    '"momentum":0.0,'
    '"name":"federated-half-v1","optimizer":"sgd","reset":false,"rounds":100,"seeds":3,'
    '"stages":[{"epochs":1,"scale":1.0}],"weight_decay":0.0}',
    "federated-short-v1": '{"augment":"none","batch":32,"client_ratio":1.0,"kind":"images","lr":0.01,'
    '"momentum":0.0,'
    '"name":"federated-short-v1","optimizer":"sgd","reset":false,"rounds":20,"seeds":3,'
    '"stages":[{"epochs":1,"scale":1.0}],"weight_decay":0.0}',
    "transfer-v1": '{"augment":"dsa","batch":256,"kind":"images","lr":0.01,"momentum":0.9,'
    '"name":"transfer-v1",'
    '"optimizer":"sgd","regress":{"augment":"none","epochs":1000,"lr":0.1,"weight_decay":0.001},'
    '"reset":false,"seeds":3,"stages":[{"epochs":500,"scale":1.0},{"epochs":500,"scale":0.1}],'
    '"tune":{"augment":"crop-flip","floor":0.0,"lr":0.01,"schedule":"step-cosine","steps":10000,'
    '"weight_decay":0.0005},"weight_decay":0.0005}',
    "transfer-short-v1": '{"augment":"dsa","batch":256,"kind":"images","lr":0.01,"momentum":0.9,'
    '"name":"transfer-short-v1","optimizer":"sgd","regress":{"augment":"none","epochs":300,"lr":0.1,'
    '"weight_decay":0.001},"reset":false,"seeds":3,"stages":[{"epochs":150,"scale":1.0},'
    '{"epochs":150,"scale":0.1}],"tune":{"augment":"crop-flip","batch":64,"floor":0.0,"lr":0.01,'
    '"schedule":"step-cosine","steps":200,"weight_decay":0.0005},"weight_decay":0.0005}',
    "transfer-probe-v1": '{"augment":"dsa","batch":256,"kind":"images","lr":0.01,"momentum":0.9,'
    '"name":"transfer-probe-v1","optimizer":"sgd","regress":{"augment":"none","epochs":1000,'
    '"lr":0.1,"weight_decay":0.001},"reset":false,"seeds":3,"stages":[{"epochs":500,"scale":1.0},'
    '{"epochs":500,"scale":0.1}],"tune":{"augment":"none","batch":512,"floor":0.0,"frozen":true,'
    '"lr":0.2,"schedule":"step-cosine","steps":5000,"weight_decay":0.0},"weight_decay":0.0005}',
}

HASHES = {
    "whole-curve-v1": "c38736ea6a15198db49603f0664cf4044c5cbb02c28df59201f3c842daf82bc3",
    "prune-v1": "14852aa4b1a21872ca658229605f987b1eca5974c583acde14442467db004159",
    "prune-short-v1": "95f3c08ba6c952d44db5e6ad899f2b3e820c4722c3451a5c88fe1199dddd383c",
    "federated-v1": "1de96657ce9d02ba0167530c423214d99b26b93858c676935227c41662096583",
    "federated-half-v1": "4d49603e015b56ed3604cdcbd6dcdc75cd4b68c412702306f9b818591672d01c",
    "federated-short-v1": "c2b134b46df20f18b496fc292f159a53989c3a10fae638698cdea3912245acb4",
    "transfer-v1": "bf534cea0c4ed96611deaa92d78a7e338518a5f7b8f3df050b3aa62bb33296c4",
    "transfer-short-v1": "55900ff4da21df17d744de777c70e7c4eea9db9a54bc0e14d247174a5e9e0a71",
    "transfer-probe-v1": "454b87846773e992aad53fa3260c247f54800e0a18346ef9d81f09bab663faf0",
}
