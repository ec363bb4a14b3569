"""Trains a classifier of transformers with the Trainer on an exported set, and tests it on real images.

    pip install 'condense-bench[examples]'
    condense export sets/NAME --to hf --out NAME-hf
    python examples/huggingface_trainer.py --set NAME-hf --epochs 200

The exported folder is one of the library datasets; condense only loads the real test images. The model starts
from random weights, nothing is downloaded. A vision transformer learns less from few images than a ConvNet.
"""

import argparse
import json

import torch
from datasets import load_from_disk
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, set_seed

from condense.data import load_images


def pairs(images: torch.Tensor, labels: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    """Returns images (n, c, h, w) and class ids (n,) or probabilities (n, k) as the Trainer takes them."""
    return [{"pixel_values": x, "labels": y} for x, y in zip(images, labels, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", required=True, help="folder that `condense export --to hf` wrote")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--data", help="real dataset, a name or path; default: that of the set")
    parser.add_argument("--out", default="trained", help="folder for the Trainer's files")
    args = parser.parse_args()
    set_seed(0)  # before the weights of the model are drawn

    stored = load_from_disk(args.set)
    about, columns = json.loads(stored.info.description), stored.with_format("torch")[:]
    space, images = about["pixels"]["space"], columns["image"]
    labels = columns["soft"] if "soft" in columns else columns["label"]
    if space not in ("raw", "normalized") or "features" in columns:
        raise SystemExit("this example takes sets that are not whitened, with class ids or probabilities")
    if space == "raw":  # bytes, or numbers from 0 to 1; with_format has made int64 of bytes
        images = images / 255 if stored.features["image"].dtype == "uint8" else images
        mean, std = (torch.tensor(about["pixels"][name])[:, None, None] for name in ("mean", "std"))
        images = (images - mean) / std
    real = load_images(args.data or about["dataset"])
    test = real.test.in_space(real.space("normalized"))

    _, channels, side, _ = images.shape
    names = dict(enumerate(stored.features["label"].names))
    config = ViTConfig(
        image_size=side, patch_size=side // 4, num_channels=channels, hidden_size=64, intermediate_size=128,
        num_hidden_layers=2, num_attention_heads=4, id2label=names, label2id={n: i for i, n in names.items()},
    )  # fmt: skip
    how = TrainingArguments(
        output_dir=args.out, num_train_epochs=args.epochs, learning_rate=1e-3, save_strategy="no",
        per_device_train_batch_size=256, per_device_eval_batch_size=500, report_to="none",
    )  # fmt: skip
    trainer = Trainer(
        model=ViTForImageClassification(config), args=how, train_dataset=pairs(images, labels),
        compute_loss_func=lambda outputs, labels, **_: cross_entropy(outputs.logits, labels),
        compute_metrics=lambda found: {"accuracy": (found.predictions.argmax(1) == found.label_ids).mean()},
    )  # fmt: skip
    trainer.train()
    scores = trainer.evaluate(pairs(test.images, test.labels))
    print(f"accuracy: {100 * scores['eval_accuracy']:.2f} % of {len(test)} real test images")


if __name__ == "__main__":
    main()
