"""Trains a network on a distilled set with Lightning, and tests it once on the real test images.

    python examples/lightning_module.py --set sets/NAME --epochs 300     (extra: examples)

The test images are put into the pixel space of the set.
"""

import argparse

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import condense
from condense.data import load_images


class Classifier(lightning.LightningModule):
    """A small network with cross-entropy, for labels that are class ids or probabilities."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(channels, 64, 3, padding=1), nn.GroupNorm(8, 64), nn.ReLU(), nn.AvgPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1), nn.GroupNorm(8, 64), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, classes),
        )  # fmt: skip

    def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
        images, labels = batch  # of the distilled set
        loss = nn.functional.cross_entropy(self.network(images), labels)
        self.log("loss", loss, prog_bar=True)
        return loss

    def test_step(self, batch: tuple[Tensor, Tensor], number: int) -> None:
        images, labels = batch  # real images, whose labels are always class ids
        right = (self.network(images).argmax(1) == labels).float().mean()
        self.log("accuracy", right, on_epoch=True, batch_size=len(labels))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", required=True, help="folder of a stored set of images")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--data", help="real dataset, a name or path; default: that of the set")
    args = parser.parse_args()
    lightning.seed_everything(0, verbose=False)

    distilled = condense.load(args.set)  # a torch Dataset
    real = load_images(args.data or distilled.content["dataset"]["name"])
    test = real.test.in_space(real.space(distilled.evaluation_space))
    classifier = Classifier(test.images.shape[1], distilled.num_classes)
    trainer = lightning.Trainer(max_epochs=args.epochs, logger=False, enable_checkpointing=False)
    if distilled.content["label"]["kind"] not in ("hard", "soft"):
        raise SystemExit("cross-entropy needs class ids or probabilities, and this set has other labels")
    trainer.fit(classifier, DataLoader(distilled, batch_size=256, shuffle=True))
    (scores,) = trainer.test(
        classifier, DataLoader(TensorDataset(test.images, test.labels), batch_size=500), verbose=False
    )
    print(f"accuracy: {100 * scores['accuracy']:.2f} % of {len(test)} real test images")


if __name__ == "__main__":
    main()
