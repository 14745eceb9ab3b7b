#!/usr/bin/python3
"""Runs one of the examples of torch.neuron's page on DataParallel, and checks its answer.

    run.py [--weights FILE] EXAMPLE.py

The examples stand here as they do on that page. They ask for ResNet-50 with weights from the internet
(pretrained=True), and for four NeuronCores. So that they run anywhere:

--weights FILE  the weights that pretrained=True stands for: a state dict as torchvision publishes it. Without
                it they are drawn at random, always the same ones; the scores mean nothing then, but they can
                be compared.
GANGLION_HOST_CORES is set to 4 where the environment says nothing of cores.
"""

import argparse
import os
import pathlib
import runpy
import sys

for variable in ("NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES", "GANGLION_HOST_CORES"):
    if variable in os.environ:
        break
else:
    os.environ["GANGLION_HOST_CORES"] = "4"

import torch
from torchvision import models


def make_resnet50(weights):
    original = models.resnet50

    def resnet50(pretrained=False, **kwargs):
        torch.manual_seed(50)
        model = original(weights=None, **kwargs)
        if pretrained and weights:
            model.load_state_dict(torch.load(weights, map_location="cpu"))
        return model

    return resnet50


def alone(names):
    """What the module itself says to the last input: on each core's part of it, where dim is not 0."""
    model, images, parallel = names["model"], names["image_batched"], names["model_parallel"]
    parts = [images] if parallel.dim == 0 else images.chunk(len(parallel.device_ids), parallel.dim)
    with torch.no_grad():
        return torch.cat([model(part) for part in parts], parallel.dim)


def check(names):
    output, wanted = names["output"], alone(names)
    if output.shape != wanted.shape:
        return f"the answer is {list(output.shape)}, but the module's own is {list(wanted.shape)}"
    largest = (output - wanted).abs().max().item()
    tolerance = 1e-4 * max(1.0, wanted.abs().max().item())
    cores = names["model_parallel"].device_ids
    print(
        f"{list(output.shape)} on cores {cores}: largest difference from the module run alone {largest:.1e}, "
        f"tolerance {tolerance:.1e}"
    )
    return None if largest <= tolerance else "the answer differs from that of the module run alone"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=pathlib.Path, metavar="FILE")
    parser.add_argument("example", type=pathlib.Path, metavar="EXAMPLE.py")
    arguments = parser.parse_args()
    for file in filter(None, (arguments.weights, arguments.example)):
        if not file.is_file():
            sys.exit(f"{file}: there is no such file")
    models.resnet50 = make_resnet50(arguments.weights)
    problem = check(runpy.run_path(str(arguments.example), run_name="__main__"))
    if problem:
        sys.exit(f"{arguments.example.name}: {problem}")


if __name__ == "__main__":
    main()
