"""Trains a network on a distilled set in plain PyTorch, and tests it once on the real test images.

    python examples/plain_pytorch.py --set sets/NAME --epochs 300

This is no protocol of condense: one network, no augmentation. Do not compare its accuracy with the board's.
"""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader

import condense
from condense.data import load_images


def convnet(channels: int, classes: int) -> nn.Module:
    """Returns a small network for images of any size."""
    return nn.Sequential(
        nn.Conv2d(channels, 64, 3, padding=1), nn.GroupNorm(8, 64), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1), nn.GroupNorm(8, 64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, classes),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", required=True, help="folder of a stored set of images")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--data", help="real dataset, a name or path; default: that of the set")
    args = parser.parse_args()
    torch.manual_seed(0)

    distilled = condense.load(args.set)  # a torch Dataset
    classes = distilled.content["dataset"]["classes"]
    kind = distilled.content["label"]["kind"]
    if kind not in ("hard", "soft"):
        raise SystemExit(f"cross-entropy needs class ids or probabilities, and this set has {kind} labels")
    real = load_images(args.data or distilled.content["dataset"]["name"])
    # Images of a set are normalised or whitened. The test images have to be in the same pixel space.
    test = real.test.in_space(real.space(distilled.evaluation_space))

    network = convnet(test.images.shape[1], len(classes))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    loader = DataLoader(distilled, batch_size=256, shuffle=True)
    for epoch in range(args.epochs):
        for images, labels in loader:
            # labels: (b,) class ids or (b, k) probabilities; cross_entropy takes both.
            loss = nn.functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if (epoch + 1) % max(args.epochs // 5, 1) == 0:
            print(f"epoch {epoch + 1}: loss {loss.item():.4f}")

    network.eval()
    with torch.no_grad():
        predicted = torch.cat([network(images).argmax(1) for images in test.images.split(500)])
    for label, name in enumerate(classes):
        right = (predicted == label)[test.labels == label].float().mean()
        print(f"{name}: {100 * right:.1f} %")
    right = (predicted == test.labels).float().mean()
    print(f"accuracy: {100 * right:.2f} % of {len(test)} real test images")


if __name__ == "__main__":
    main()
