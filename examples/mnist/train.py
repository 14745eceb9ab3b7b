#!/usr/bin/python3
"""Trains the digit classifier of this example and writes it as TorchScript.

A small convolutional network learns from the 7,000 training digits in data/, with shifted, turned and scaled
copies of them, and is then asked about the 1,000 test digits, which it never saw while training. Everything
is seeded: a second run on the same machine and packages writes the same weights. Needs Debian's python3-torch
and nothing else.

    ./train.py [--epochs N] [--output mnist_cnn.pt]
"""

import argparse
import gzip
import io
import math
import pathlib
import sys
import time
import zipfile

import torch
from torch import nn
from torch.nn import functional

HERE = pathlib.Path(__file__).resolve().parent
REQUIRED_ACCURACY = 0.975


class DigitClassifier(nn.Module):
    """f32[N,1,28,28], pixels from 0 (paper) to 1 (ink) -> f32[N,10]: a score a digit, the highest wins."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 5 * 5, 10))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        # MNIST's own mean and deviation; inside the module, so that callers need not know them.
        return self.classifier(self.features((pixels - 0.1307) / 0.3081))


def read_idx(path):
    """An IDX file of unsigned bytes, gzipped: the tensor that it holds."""
    raw = gzip.decompress(path.read_bytes())
    if raw[:3] != b"\x00\x00\x08":
        sys.exit(f"train.py: {path} is no IDX file of unsigned bytes")
    shape = [int.from_bytes(raw[4 + 4 * i:8 + 4 * i], "big") for i in range(raw[3])]
    start = 4 + 4 * len(shape)
    if len(raw) - start != math.prod(shape):
        sys.exit(f"train.py: {path} should hold {math.prod(shape)} bytes and holds {len(raw) - start}")
    return torch.frombuffer(bytearray(raw[start:]), dtype=torch.uint8).reshape(shape)


def read_digits(folder, which):
    images = read_idx(folder / f"{which}-images-idx3-ubyte.gz").unsqueeze(1).float() / 255
    labels = read_idx(folder / f"{which}-labels-idx1-ubyte.gz").long()
    return images, labels


def vary(images):
    """Each image turned by up to 12 degrees, scaled by up to a tenth and shifted by up to 2.8 pixels."""
    count = images.shape[0]
    angle = (torch.rand(count) * 2 - 1) * math.radians(12)
    scale = 1 + (torch.rand(count, 2) * 2 - 1) * 0.1
    shift = (torch.rand(count, 2) * 2 - 1) * 0.2
    rows = [torch.stack([angle.cos() * scale[:, 0], -angle.sin(), shift[:, 0]], 1),
            torch.stack([angle.sin(), angle.cos() * scale[:, 1], shift[:, 1]], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def train(model, images, labels, epochs, batch=64):
    steps = math.ceil(len(images) / batch) * epochs
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=steps)
    model.train()
    for epoch in range(epochs):
        started = time.monotonic()
        total = 0.0
        for chosen in torch.randperm(len(images)).split(batch):
            optimizer.zero_grad(set_to_none=True)
            loss = functional.cross_entropy(model(vary(images[chosen])), labels[chosen], label_smoothing=0.05)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        print(f"epoch {epoch + 1:2} of {epochs}: loss {total / len(images):.4f}, "
              f"{time.monotonic() - started:.1f} s", flush=True)
    model.eval()


def save(script, path):
    """Without the debug records, which would carry the paths of the machine that trained it."""
    archive = io.BytesIO()
    torch.jit.save(script, archive)
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                name = pathlib.PurePosixPath(path.stem, *pathlib.PurePosixPath(entry.filename).parts[1:])
                target.writestr(zipfile.ZipInfo(str(name)), source.read(entry))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--output", type=pathlib.Path, default=HERE / "mnist_cnn.pt")
    parser.add_argument("--data", type=pathlib.Path, default=HERE / "data")
    arguments = parser.parse_args()

    torch.manual_seed(2024)
    torch.use_deterministic_algorithms(True)
    model = DigitClassifier()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    train(model, *read_digits(arguments.data, "train"), arguments.epochs)

    script = torch.jit.script(model)
    images, labels = read_digits(arguments.data, "test")
    with torch.no_grad():
        right = int((script(images).argmax(1) == labels).sum())
    print(f"accuracy: {100 * right / len(labels):.1f} % ({right} of {len(labels)} test digits)")
    if right < REQUIRED_ACCURACY * len(labels):
        sys.exit(f"train.py: at least {100 * REQUIRED_ACCURACY} % was expected; nothing was written")
    save(script, arguments.output)
    print(f"wrote {arguments.output} ({arguments.output.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
