#!/usr/bin/python3
"""Ganglion beside its peers: the same models, the same machine, the same run, in turn.

    test/benchmark/peers/table.py [--models NAME,...] [--rounds N] [--seconds S] [--build FOLDER] [--work FOLDER]

makes what it needs in a folder of its own, build/peers (an environment with ONNX Runtime from the package registry, the
models, the compiled artifacts), measures, and writes the table as text to stdout and into that folder: table.json,
table.md (the block of docs/performance.md) and a picture of each model, peers-NAME.svg. Each contender is a process of
its own that is idle while another is measured. First each tries its settings and keeps the best; then all are measured
in turn, round after round, and what is told are the medians of the rounds' ratios.

--small takes small models and needs no network: ONNX Runtime is left out, with a line that says so, where its
environment is not there already. It is for seeing that the table works; its figures mean nothing.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys

import report

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PYTHON = "/usr/bin/python3"  # Debian's, with its torch

# The compiled batches that contenders may choose from, the shape of a row and of its answer, the rows of one call.
MODELS = {
    "resnet50": dict(batches=[1, 8], row=[3, 224, 224], output=[1000], rows=16),
    "encoder": dict(batches=[1, 4, 8], row=[128, 768], output=[128, 768], rows=16),
    "mlp": dict(batches=[32, 128, 256], row=[1024], output=[1000], rows=512),
    "layer": dict(batches=[16], row=[16], output=[16], rows=4096),
    "small-mlp": dict(batches=[8, 16], row=[32], output=[8], rows=64),
    "small-encoder": dict(batches=[2], row=[8, 32], output=[8, 32], rows=8),
}
# As close to the module alone as rounding allows; bfloat16 keeps eight bits, and random weights make much of what is
# lost: how much is told.
TOLERANCE = {"fp32": 1e-4, "bf16": 0.2}


class Contender:
    """A process that is told what to measure."""

    def __init__(self, name, words, environment=None):
        self.name = name
        self.process = subprocess.Popen(
            list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env={**os.environ, **(environment or {})},
        )
        self.ready = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"table.py: '{self.name}' ended with status {self.process.wait()}")
        return json.loads(line)

    def ask(self, what, seconds):
        self.process.stdin.write(f"{what} {seconds}\n")
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Workshop:
    """Where everything that contenders need is made, once."""

    def __init__(self, build, folder, small):
        self.build, self.folder, self.small = build, folder, small
        self.models = self.folder / "models"
        self.onnx_python = self.folder / "venv/bin/python"
        # A forward allocates its activations anew each time. All contenders keep that memory, as `ganglion` does.
        self.environment = {
            "PYTHONPATH": str(build / "python"), "PYTHONWARNINGS": "ignore",
            "MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
        }

    def make_onnx_runtime(self):
        """Whether ONNX Runtime is there."""
        if not self.onnx_python.exists() and not self.small:
            subprocess.run([PYTHON, "-m", "venv", self.folder / "venv"], check=True)
            subprocess.run([self.onnx_python, "-m", "pip", "install", "--quiet", "onnxruntime", "numpy"], check=True)
        return self.onnx_python.exists()

    def make_models(self, names):
        subprocess.run([PYTHON, HERE / "models.py", self.models, *names], check=True)

    def artifact(self, name, batch, kind):
        """The model compiled for a batch. None where bfloat16 is refused for it."""
        command, source = self.build / "bin/ganglion", self.models / f"{name}.pt"
        path = self.models / f"{name}-{kind}-{batch}.pt"
        if path.exists() and path.stat().st_mtime > max(command.stat().st_mtime, source.stat().st_mtime):
            return path
        shape = ",".join(map(str, [batch, *MODELS[name]["row"]]))
        cast = ["--auto-cast", "bf16", "--max-deviation", TOLERANCE[kind]] if kind == "bf16" else []
        done = subprocess.run([command, "trace", source, "--input", f"f32[{shape}]", "--output", path, *map(str, cast)],
                              capture_output=True, text=True)
        if done.returncode == 0:
            return path
        if kind == "bf16":
            print(f"  bf16 is left out: {done.stderr.strip()}", flush=True)
            return None
        sys.exit(f"table.py: {done.stderr}")

    # -- the contenders --------------------------------------------------------------------------------------------

    def python(self, name, kind, options, python=PYTHON):
        return Contender(name, [python, HERE / "contender.py", kind, json.dumps(options)], self.environment)

    def contenders(self, model):
        """All of them for a model, ready, each with its own name. Each gets its choice before the next is made."""
        about = MODELS[model]
        files = {what: str(self.models / f"{model}{end}") for what, end in
                 (("model", ".pt"), ("input", "-input.npy"), ("answer", "-answer.npy"))}
        for kind in ("fp32", "bf16"):
            artifacts = {batch: self.artifact(model, batch, kind) for batch in about["batches"]}
            if None in artifacts.values():
                continue
            paths = {batch: str(path) for batch, path in artifacts.items()}
            ours = self.python(f"ganglion {kind}", "ganglion", {**files, "artifacts": paths, "callers": 2})
            yield ours
            yield self.python(f"ganglion {kind}, one caller", "ganglion", {**files, "artifacts": paths, "callers": 1})
            if kind == "fp32":  # of the program that ours has chosen by now
                yield self.native("bare loops", "loops", about["rows"], paths[int(ours.choice.split()[1])])
        for form in ("traced", "frozen"):
            yield self.native(f"libtorch {form}", "torch", 2, about["rows"], files["model"], form,
                              "x".join(map(str, about["row"])), *about["batches"])
        for form in ("traced", "frozen"):
            for threads in (1, 2):
                options = dict(threads=threads, frozen=form == "frozen", rows=about["rows"], batches=about["batches"])
                yield self.python(f"pool {form}, {threads}", "pool", {**files, **options})
        if self.make_onnx_runtime():
            for threads, sessions in ((1, 1), (2, 1), (1, 2)):
                name = "onnx 2 sessions" if sessions == 2 else f"onnx {threads}"
                options = dict(model=str(self.models / f"{model}.onnx"), threads=threads, sessions=sessions,
                               batches=about["batches"], output=about["output"])
                yield self.python(name, "onnx", {**files, **options}, self.onnx_python)
        else:
            print(f"  ONNX Runtime is not measured: {self.onnx_python} is not there (made without --small)", flush=True)

    def native(self, name, *words):
        return Contender(name, [self.build / "bin/benchmark_contender", *words], self.environment)


def measure(workshop, model, seconds, rounds):
    """What the report takes of a model."""
    print(f"{model}: {report.LABELS.get(model, model)}", flush=True)
    contenders = []
    for contender in workshop.contenders(model):
        off = contender.ready.get("relative_l2", 0)
        if off > TOLERANCE["bf16" if "bf16" in contender.name else "fp32"]:
            sys.exit(f"table.py: the answers of '{contender.name}' are off by {off:.3g} (relative L2)")
        contender.choice = contender.ask("choose", seconds / 3)["choice"]
        print(f"  {contender.name:<18} {contender.choice}", flush=True)
        contenders.append(contender)
    rates = {contender.name: [] for contender in contenders}
    for round_number in range(rounds):
        in_order = contenders if round_number % 2 == 0 else contenders[::-1]
        for contender in in_order:
            rates[contender.name].append(contender.ask("measure", seconds)["rows_per_second"])
        print(f"  round {round_number + 1} of {rounds}: "
              + ", ".join(f"{name} {values[-1]:.4g}" for name, values in rates.items()), flush=True)
    for contender in contenders:
        contender.close()
    return {
        "rows": MODELS[model]["rows"],
        "contenders": {c.name: {"choice": c.choice, "rows_per_second": statistics.median(rates[c.name]),
                                "rounds": rates[c.name], "relative_l2": c.ready.get("relative_l2"),
                                "top1_agreement": c.ready.get("top1_agreement")}
                       for c in contenders},
    }


def json_of(words, environment=None):
    done = subprocess.run(list(map(str, words)), check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          env={**os.environ, **(environment or {})})
    return json.loads(done.stdout)


def machine(workshop, models):
    def said_by(python, module):
        done = subprocess.run([python, "-c", f"import {module}; print({module}.__version__)"], stdout=subprocess.PIPE,
                              text=True, check=True)
        return done.stdout.strip()

    system = dict(line.rstrip().split("=", 1) for line in open("/etc/os-release") if "=" in line)
    result = {
        "cpu": next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
        "cpus": len(os.sched_getaffinity(0)),
        "system": system["PRETTY_NAME"].strip('"'),
        "torch": said_by(PYTHON, "torch"),
    }
    if any(name.startswith("onnx") for model in models for name in model["contenders"]):
        result["onnxruntime"] = said_by(workshop.onnx_python, "onnxruntime")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=None, help="names with commas between them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of one measurement")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build/peers")
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    workshop = Workshop(given.build.resolve(), given.work.resolve(), given.small)
    names = ["small-mlp", "small-encoder"] if given.small else report.MODELS
    if given.models:
        names = given.models.split(",")
    unknown = [name for name in names if name not in MODELS]
    if unknown:
        parser.error(f"there is no model {unknown[0]!r}: they are {', '.join(MODELS)}")

    workshop.make_models(names)
    found = {
        "date": datetime.date.today().isoformat(),
        "command": "test/benchmark/peers/table.py " + " ".join(sys.argv[1:]),
        "seconds": given.seconds,
        "rounds": given.rounds,
        "models": {name: measure(workshop, name, given.seconds, given.rounds) for name in names},
    }
    if not given.small:
        found["one_large_request"] = json_of([workshop.build / "bin/benchmark_one_large_request"])
        found["digits"] = json_of([PYTHON, HERE / "digits.py"], workshop.environment)
    found["machine"] = machine(workshop, found["models"].values())
    report.write(found, workshop.folder)
    print(report.text(found), end="")
    print(f"\nwritten: {workshop.folder}/table.json, table.md and a picture of each model")


if __name__ == "__main__":
    main()
