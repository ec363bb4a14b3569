"""A teacher that was trained by hand on the toy data, in a fraction of a second."""

import pytest
import torch

from condense.data import ImageDataset
from condense.networks import Network, build_network
from condense.teachers import Header, Teacher


@pytest.fixture(scope="session")
def header(toy: ImageDataset) -> Header:
    """What is known of `teacher`."""
    spec = toy.spec
    return Header(
        network="convnet-w32-bn",
        dataset=spec.name,
        classes=spec.classes,
        shape=spec.shape,
        mean=spec.mean,
        std=spec.std,
        train_hash=toy.train.hash,
        accuracy=90.0,
        training={"epochs": 20},
    )


@pytest.fixture(scope="session")
def trained(toy: ImageDataset, header: Header) -> Network:
    """A network that has learned the toy data, in float32."""
    net = build_network(header.network, header.shape, 3, torch.Generator().manual_seed(0))
    train = toy.train.in_space(toy.space("normalized"))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(20):
        optimizer.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(net(train.images), train.labels))
        optimizer.step()
    return net.eval()


@pytest.fixture
def teacher(header: Header, trained: Network) -> Teacher:
    """The teacher that the network is."""
    return Teacher.of(header, trained.state_dict(), "cpu")
