"""python3 -m torch_neuron.doctor."""

import concurrent.futures
import os
import shutil
import subprocess
import sys

import pytest
import torch_neuron
import torch_neuron.doctor
from conftest import start_python


def doctor(**environment):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("NEURON_RT_", "GANGLION_HOST"))}
    command = [sys.executable, "-m", "torch_neuron.doctor"]
    done = subprocess.run(command, env={**env, **environment}, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


def test_it_lists_what_there_is_and_tests_itself():
    status, said = doctor(GANGLION_HOST_CORES="4")
    for text in ("python ", "torch ", "torch_neuron ", "libtorch ", "blas ", "nc:3 is chip0:core3", "all right"):
        assert text in said, said
    assert status == 0 and said.endswith("all is well\n")


def package_without_its_extension(folder, extension=None):
    """A copy of the package in a folder, with other bytes in the extension's place, or none."""
    there = os.path.dirname(torch_neuron.__file__)
    shutil.copytree(there, folder / "torch_neuron", ignore=shutil.ignore_patterns("_engine*.so", "__pycache__"))
    if extension is not None:
        (folder / "torch_neuron" / os.path.basename(torch_neuron._engine.__file__)).write_bytes(extension)
    return str(folder)


def run(*arguments, path):
    """Python without, with -S, or with the system's packages, and torch_neuron from a path."""
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("way", [["-m", "torch_neuron.doctor"], ["-mtorch_neuron.doctor"]])
def test_without_torch_it_says_so_with_the_remedy(way):
    status, said, errors = run("-S", *way, path=os.environ["PYTHONPATH"])
    assert (status, errors) == (1, "")
    assert "PROBLEM: No module named 'torch'" in said and "remedy: apt install python3-torch" in said


@pytest.mark.parametrize(
    "extension, reason",
    [(None, "its extension is not there"), (b"no program", "does not load beside the torch in"),
     ("other", "is for another Python")],
)
def test_without_its_extension_it_says_so_with_the_remedy(tmp_path, extension, reason):
    path = package_without_its_extension(tmp_path, extension if isinstance(extension, bytes) else None)
    if extension == "other":
        (tmp_path / "torch_neuron" / "_engine.cpython-27-x86_64-linux-gnu.so").write_bytes(b"")
    status, said, errors = run("-m", "torch_neuron.doctor", path=path)
    assert (status, errors) == (1, "")
    assert "torch         " in said and "PROBLEM: " in said and reason in said and "remedy: build it" in said


def test_an_import_that_fails_says_why_with_the_remedy(tmp_path):
    status, _, errors = run("-S", "-c", "import torch_neuron", path=os.environ["PYTHONPATH"])
    assert status == 1 and "ImportError: torch_neuron needs torch" in errors and "apt install python3-torch" in errors
    path = package_without_its_extension(tmp_path)
    status, _, errors = run("-c", "import torch_neuron", path=path)
    assert status == 1 and "ImportError: torch_neuron cannot be imported: its extension is not there" in errors


@pytest.mark.parametrize(
    "variable, value",
    [("NEURON_RT_VISIBLE_CORES", "zero"), ("NEURON_RT_NUM_CORES", "99"), ("NEURON_RT_NUM_CORES", "0"),
     ("GANGLION_HOST_CORES", "0")],
)
def test_a_problem_of_a_variable_comes_with_its_remedy(variable, value):
    status, said = doctor(**{variable: value})
    assert status == 1 and f"environment   {variable}={value}" in said and said.endswith("1 problem, see above\n")
    assert variable in said.partition("PROBLEM")[2] and "remedy: correct or unset the variable\n" in said


@pytest.mark.parametrize("wanted", ["NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES"])
def test_a_core_that_another_process_has_comes_with_its_remedy(wanted):
    holds = "torch_neuron.status()\nprint('held', flush=True)\ninput()"
    with start_python(holds, cores="8", NEURON_RT_VISIBLE_CORES="5") as holder:
        assert holder.stdout.readline() == "held\n"
        value = "5" if wanted == "NEURON_RT_VISIBLE_CORES" else "8"
        status, said = doctor(GANGLION_HOST_CORES="8", **{wanted: value})
        holder.communicate("\n", timeout=60)
    problem = said.partition("PROBLEM")[2]
    assert status == 1 and str(holder.pid) in problem and "remedy: end the process that holds the core" in problem, said


def test_nobody_needs_to_read_it_to_its_end():
    command = [sys.executable, "-m", "torch_neuron.doctor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("python ")
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 1


class Said:
    def __init__(self):
        self.problems = []

    def line(self, *words):
        pass

    def problem(self, what, sentence, remedy):
        self.problems.append((what, sentence, remedy))


def test_a_slow_blas_is_a_problem(monkeypatch):
    found = {"libblas": ["/lib/libblas.so.3.10.0"]}
    monkeypatch.setattr(torch_neuron.doctor, "mapped", lambda name: found.get(name, []))
    said = Said()
    torch_neuron.doctor.check_blas(said)
    assert [what for what, *_ in said.problems] == ["blas"] and "libopenblas" in said.problems[0][2]
    found["libopenblas"] = ["/lib/libopenblas.so.0"]
    torch_neuron.doctor.check_blas(said := Said())
    assert not said.problems


def test_rows_that_come_back_wrong_are_a_problem(monkeypatch):
    right = torch_neuron.DataParallel.submit

    def wrong(self, *inputs, **options):
        future = concurrent.futures.Future()
        future.set_result(right(self, *inputs, **options).result() + 1)
        return future

    monkeypatch.setattr(torch_neuron.DataParallel, "submit", wrong)
    torch_neuron.doctor.self_test(said := Said())
    assert len(said.problems) == 1 and "came back wrong" in said.problems[0][1]


def test_a_self_test_that_hangs_is_a_problem(monkeypatch):
    monkeypatch.setattr(torch_neuron.DataParallel, "submit", lambda self, *inputs, **options: concurrent.futures.Future())
    monkeypatch.setattr(torch_neuron.doctor, "LONGEST_SECONDS", 0.1)
    torch_neuron.doctor.self_test(said := Said())
    assert len(said.problems) == 1 and "no answer" in said.problems[0][1]
