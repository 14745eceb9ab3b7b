#!/usr/bin/python3
"""The trained digits model of examples/mnist compiled in bfloat16, on the 1,000 test digits, as one JSON object: how
many get the same top-1 as from the module alone in fp32, and how many are right."""

import json
import pathlib
import sys

import torch
import torch_neuron  # noqa: F401

MNIST = pathlib.Path(__file__).resolve().parents[3] / "examples/mnist"
sys.path.insert(0, str(MNIST))
from train import read_digits  # noqa: E402


def figures():
    images, labels = read_digits(MNIST / "data", "test")
    module = torch.jit.load(str(MNIST / "mnist_cnn.pt")).eval()
    compiled = torch.neuron.trace(module, images[:8], auto_cast="bf16")
    with torch.no_grad(), torch.neuron.DataParallel(compiled) as parallel:
        alone, found = module(images), parallel(images)
    share = lambda equal: equal.double().mean().item()  # noqa: E731
    return {
        "digits": len(images),
        "top1_agreement": share(alone.argmax(1) == found.argmax(1)),
        "accuracy_fp32": share(alone.argmax(1) == labels),
        "accuracy_bf16": share(found.argmax(1) == labels),
        "relative_l2": ((found - alone).norm() / alone.norm()).item(),
    }


if __name__ == "__main__":
    print(json.dumps(figures()))
