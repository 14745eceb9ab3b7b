#!/usr/bin/python3
"""Makes the models of the peers' table, each once: models.py FOLDER NAME...

Of each there are, beside each other in FOLDER: NAME.pt, the traced module; NAME.onnx, exported from the same module;
NAME-input.npy, the rows of one call; NAME-answer.npy, what the module alone makes of them. Weights are seeded. Needs
Debian's python3-torch and python3-torchvision, and is a process of its own: PyTorch and ONNX Runtime want different
versions of NumPy.
"""

import pathlib
import subprocess
import sys

import numpy
import torch
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parents[3]


class EncoderLayer(nn.Module):
    """A Transformer encoder's layer, written out: PyTorch's own takes another path without gradients, which cannot be
    exported."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x):
        shape = [x.size(0), x.size(1), self.heads, self.size]
        q, k, v = (part.reshape(shape).transpose(1, 2) for part in self.into(x).chunk(3, 2))
        attention = torch.softmax(q @ k.transpose(2, 3) * self.size**-0.5, 3) @ v
        x = self.first(x + self.out(attention.transpose(1, 2).flatten(2)))
        return self.second(x + self.down(nn.functional.gelu(self.up(x))))


def encoder(width=768, heads=12, layers=4):
    return nn.Sequential(*(EncoderLayer(width, heads) for _ in range(layers)))


def perceptron(*sizes):
    layers = [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:])]
    return nn.Sequential(*(part for layer in layers[:-1] for part in (layer, nn.ReLU())), layers[-1])


def resnet50(folder):
    """torchvision's, with the weights of scripts/make-resnet50."""
    import torchvision

    path = folder / "resnet50-weights.pt"
    subprocess.run([ROOT / "scripts/make-resnet50", "--keep", path], check=True, stdout=subprocess.DEVNULL)
    model = torchvision.models.resnet50(weights=None)
    model.load_state_dict(torch.jit.load(str(path)).state_dict())
    return model


# What makes it, the shape of a row, and the rows of one call.
MODELS = {
    "resnet50": (resnet50, [3, 224, 224], 16),
    "encoder": (lambda folder: encoder(), [128, 768], 16),
    "mlp": (lambda folder: perceptron(1024, 4096, 4096, 1000), [1024], 512),
    "layer": (lambda folder: nn.Linear(16, 16), [16], 4096),
    # For the test of the table itself:
    "small-mlp": (lambda folder: perceptron(32, 64, 8), [32], 64),
    "small-encoder": (lambda folder: encoder(32, 4, 1), [8, 32], 8),
}


def write(folder, name):
    make, row, rows = MODELS[name]
    torch.manual_seed(1)
    model = make(folder).eval()
    x = torch.rand([rows, *row])
    with torch.no_grad():
        # Two rows, so that no dimension of size 1 is taken for a fixed one.
        torch.jit.trace(model, x[:2], check_trace=False).save(str(folder / f"{name}.pt"))
        torch.onnx.export(model, x[:2], str(folder / f"{name}.onnx"), opset_version=17, input_names=["x"],
                          output_names=["y"], dynamic_axes={"x": {0: "rows"}, "y": {0: "rows"}})
        answer = torch.cat([model(part) for part in x.split(16)])
    numpy.save(folder / f"{name}-input.npy", x.numpy())
    numpy.save(folder / f"{name}-answer.npy", answer.numpy())  # the last one: it says that all are there


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:]:
        if not (folder / f"{name}-answer.npy").exists():
            write(folder, name)


if __name__ == "__main__":
    main()
