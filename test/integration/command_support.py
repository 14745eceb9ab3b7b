"""What the tests of the `ganglion` command share: models, files in a scratch folder, and calls of the built program."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import torch
from torch import nn

GANGLION = sys.argv.pop(1)
scratch = tempfile.TemporaryDirectory(prefix="ganglion-command-test-")  # gone when the interpreter ends
folder = Path(scratch.name)


def at(name):
    return str(folder / name)


# -- models ------------------------------------------------------------------------------------------------------------


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x):
        return torch.relu(self.layer(x))


class Pair(nn.Module):
    def forward(self, a, b):
        return a + b, a * 2


class MixesRows(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


class Total(nn.Module):
    def forward(self, x):
        return x.sum()


class WidthByValue(nn.Module):
    def forward(self, x):
        return torch.ones(x.size(0), 1 + int(x.max().item()))


class FailsOnLarge(nn.Module):
    def forward(self, x):
        if bool((x > 5.0).any()):
            raise ValueError("a value above five")
        return x


class TalksOnLarge(nn.Module):
    def forward(self, x):
        if bool((x > 5.0).any()):
            raise ValueError("first line\nthe second is of c10::foo")
        return x


class SlowOnLarge(nn.Module):
    """Does nothing to values below 1000, and for each 1000 more what takes about a second."""

    def forward(self, x):
        for _ in range(int(x.max().item()) // 1000):
            for _ in range(1000000):
                x = torch.tanh(x)
        return x


class SlowAlways(nn.Module):
    """Takes about a tenth of a second, whatever the values."""

    def forward(self, x):
        for _ in range(100000):
            x = torch.tanh(x)
        return x


class Prints(nn.Module):
    def forward(self, x):
        print("rows:", x.size(0))
        return x


class Half(nn.Module):
    def forward(self, x):
        return x.to(torch.bfloat16)


class CountsCalls(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x


class AlwaysTraining(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5, True)


class NoTensor(nn.Module):
    def forward(self, x):
        return x.size(0)


def long_to_load():
    """A module of so many lines that reading it takes about a second."""
    module = torch.jit.ScriptModule()
    module.define("def forward(self, x):\n" + "    x = torch.tanh(x)\n" * 5000 + "    return x\n")
    return module


def write_source(name, module):
    torch.jit.save(torch.jit.script(module.eval()), at(name))


MODELS = {"linear": (Linear, ["f32[4,3]"]), "pair": (Pair, ["f32[2,3]", "f32[2,3]"]),
          "mixes": (MixesRows, ["f32[4,3]"]), "total": (Total, ["f32[2,3]"]), "width": (WidthByValue, ["f32[1,1]"]),
          "fails": (FailsOnLarge, ["f32[1,2]"]), "slow": (SlowOnLarge, ["f32[1,2]"]), "half": (Half, ["f32[1,2]"]),
          "prints": (Prints, ["f32[1,2]"]),
          "talks": (TalksOnLarge, ["f32[1,2]"]), "weary": (SlowAlways, ["f32[1,2]"]), "long": (long_to_load, ["f32[1,2]"])}


def source(name):
    """The TorchScript file of one of MODELS, made at the first use."""
    path = at(f"{name}.source.pt")
    if not Path(path).exists():
        torch.manual_seed(1)
        write_source(f"{name}.source.pt", MODELS[name][0]())
    return path


def model(name):
    """One of MODELS compiled, likewise."""
    path = at(f"{name}.pt")
    if not Path(path).exists():
        inputs = [word for text in MODELS[name][1] for word in ("--input", text)]
        traced = call("trace", source(name), *inputs, "--no-tune", "--output", path)
        if traced.returncode != 0:
            raise AssertionError(f"cannot trace {name}: {traced.stderr}")
    return path


def at_or_model(name):
    return model(name) if name in MODELS else at(name)


# -- the command -------------------------------------------------------------------------------------------------------


def environment(**variables):
    """A host of two cores with none of them locked, whatever the machine is and has set."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NEURON_RT_", "GANGLION_"))}
    return {**clean, "GANGLION_HOST_CORES": "2", **variables}


def call(*arguments, timeout=60, **variables):
    return subprocess.run([GANGLION, *arguments], env=environment(**variables), capture_output=True, text=True,
                          timeout=timeout)


class Command(unittest.TestCase):
    # A folder, a device, an empty name, and a place where nobody makes a file, root neither.
    UNWRITABLE = (str(folder), "/dev/null", "", "/proc/out.pt")

    def tearDown(self):
        for path in ("out.pt", "out.npy"):
            (folder / path).unlink(missing_ok=True)

    def accepted(self, *arguments, warnings=0, **variables):
        result = call(*arguments, **variables)
        self.assertEqual(result.returncode, 0, result.stderr)
        # Whether this machine's CPU has bf16 is of no account.
        lines = [line for line in result.stderr.splitlines() if "computes in bf16, for which this CPU" not in line]
        self.assertEqual(len(lines), warnings, result.stderr)
        for line in lines:
            self.assertTrue(line.startswith("ganglion: warning: "), line)
        return result

    def refused(self, code, *arguments, status=1, text=(), **variables):
        """One error line with the code and the texts, besides warnings; no stack, no output on stdout, no output file."""
        result = call(*arguments, **variables)
        self.assertEqual(result.returncode, status, result.stderr)
        lines = [line for line in result.stderr.splitlines() if not line.startswith("ganglion: warning: ")]
        self.assertEqual(len(lines), 1, result.stderr)
        self.assertTrue(lines[0].startswith(f"ganglion: error[{code}]: "), lines[0])
        for part in (text,) if isinstance(text, str) else text:
            self.assertIn(part, lines[0])
        for noise in ("frame #", "c10::", "at::", "torch::jit::", "Exception raised from"):
            self.assertNotIn(noise, lines[0])
        self.assertEqual(result.stdout, "")
        self.assertFalse((folder / "out.pt").exists() or (folder / "out.npy").exists())
        return lines[0]

    def unreadable(self, *arguments, text=()):
        return self.refused("invalid_argument", *arguments, status=2, text=text)

    def run_json(self, name, tensors, *arguments, warnings=0, **variables):
        """Runs a model on tensors and answers what torch.load reads, and the JSON."""
        inputs = []
        for i, tensor in enumerate(tensors):
            torch.save(tensor, at(f"in{i}.pt"))
            inputs += ["--input", at(f"in{i}.pt")]
        result = self.accepted("run", at_or_model(name), *inputs, "--output", at("out.pt"), "--json", *arguments,
                               warnings=warnings, **variables)
        answer = torch.load(at("out.pt"))
        (folder / "out.pt").unlink()
        return answer, json.loads(result.stdout)

    def run_refused(self, code, name, tensor, *arguments, **more):
        torch.save(tensor, at("in.pt"))
        return self.refused(code, "run", at_or_model(name), "--input", at("in.pt"), "--output", at("out.pt"), *arguments,
                            **more)
