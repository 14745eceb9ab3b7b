"""examples/python/run.py. The five examples themselves are tests of CTest's."""

import os
import pathlib
import subprocess
import sys

import pytest
import torch
from torchvision import models

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples" / "python"
#: Without the timing of programs, and with a look at the answer.
EXAMPLE = (EXAMPLES / "default_usage.py").read_text().replace("(model, image)", "(model, image, tune=False)")
EXAMPLE += "\nprint('scores', output.unique().tolist())\n"


def run(folder, *arguments, example=EXAMPLE):
    (folder / "example.py").write_text(example)
    command = [sys.executable, str(EXAMPLES / "run.py"), *arguments, str(folder / "example.py")]
    # What pretrained=True would fetch must not be there by chance.
    environment = {**os.environ, "TORCH_HOME": str(folder), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def weights():
    """A state dict as torchvision publishes it, with which every score is 7."""
    state = models.resnet50(weights=None).state_dict()
    state["fc.weight"].zero_()
    state["fc.bias"].fill_(7)
    return state


def test_weights_of_a_local_file_are_what_pretrained_stands_for(tmp_path, weights):
    path = tmp_path / "resnet50.pth"
    torch.save(weights, path)
    status, said, errors = run(tmp_path, "--weights", str(path))
    assert status == 0, errors
    assert "scores [7.0]\n" in said and "[5, 1000] on cores [0, 1, 2, 3]: largest difference" in said


def test_weights_that_are_not_those_of_the_model_are_told(tmp_path, weights):
    path = tmp_path / "resnet50.pth"
    torch.save({key: value for key, value in weights.items() if key != "fc.bias"}, path)
    status, _, errors = run(tmp_path, "--weights", str(path))
    assert status != 0 and "fc.bias" in errors
    status, _, errors = run(tmp_path, "--weights", str(tmp_path / "nothing.pth"))
    assert status != 0 and "nothing.pth" in errors and "Traceback" not in errors


def test_without_a_file_weights_are_drawn_and_always_the_same(tmp_path):
    first, second = (run(tmp_path, example="from torchvision import models\nimport torch\nimport torch_neuron\n"
                         "model = models.resnet50(pretrained=True).fc.eval()\nimage_batched = torch.ones(2, 2048)\n"
                         "model_parallel = torch.neuron.DataParallel(torch.neuron.trace(model, image_batched))\n"
                         "output = model_parallel(image_batched)\nprint(model.weight.double().norm().item())\n")
                     for _ in range(2))
    assert first[0] == 0, first[2]
    # Not the rest, which is of the programs: another one may be the faster one the next time.
    assert first[1].splitlines()[0] == second[1].splitlines()[0] != "0.0"


def test_an_answer_that_is_not_the_modules_is_an_error(tmp_path):
    status, _, errors = run(tmp_path, example=EXAMPLE + "output = output + 1\n")
    assert status != 0 and "differs from that of the module run alone" in errors
