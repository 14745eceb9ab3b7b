"""Says whether torch_neuron can work here: ``python3 -m torch_neuron.doctor``.

Lists what is installed and which cores this process sees, and runs a model for a second on all of them. Each
problem is told with its remedy. Exit status: 0 when all is well, 1 when something is not.
"""

import concurrent.futures
import importlib.machinery
import os
import platform
import sys
import time
import traceback
import warnings

TEST_SECONDS = 1.0
LONGEST_SECONDS = 30.0  # for one call of it
TORCH_REMEDY = "apt install python3-torch, and run /usr/bin/python3, or a venv of it with --system-site-packages"
ENGINE_REMEDY = (
    "build it for this Python and its torch: scripts/quickstart and PYTHONPATH=build/release/python, or pip install . "
    "in a venv with --system-site-packages"
)
VARIABLES = ("NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES", "GANGLION_HOST_CORES", "OMP_NUM_THREADS")


class Report:
    def __init__(self):
        self.problems = 0

    def line(self, name, text):
        print(f"{name:<14}{text}", flush=True)

    def problem(self, name, text, remedy):
        self.problems += 1
        self.line(name, f"PROBLEM: {text}")
        self.line("", f"  remedy: {remedy}")


def mapped(part):
    """The paths of the shared objects of this process whose file names begin with a text."""
    with open("/proc/self/maps") as maps:
        paths = {line.split(None, 5)[5].strip() for line in maps if len(line.split(None, 5)) == 6}
    return sorted(path for path in paths if os.path.basename(path).startswith(part))


def check_packages(report):
    """Imports torch and torch_neuron; whether that worked."""
    report.line("python", f"{platform.python_version()} ({sys.executable})")
    try:
        import torch
    except (ImportError, OSError) as e:
        report.problem("torch", str(e), TORCH_REMEDY)
        return False
    report.line("torch", f"{torch.__version__} ({os.path.dirname(torch.__file__)})")
    try:
        import torch_neuron._engine
    except (ImportError, OSError) as e:
        report.problem("torch_neuron", engine_problem(e, torch.__file__), ENGINE_REMEDY)
        return False
    report.line("torch_neuron", f"{torch_neuron.__version__} ({os.path.dirname(torch_neuron.__file__)})")
    copies = mapped("libtorch_cpu")
    if len(copies) == 1:
        report.line("libtorch", copies[0])
    else:
        report.problem(
            "libtorch",
            f"{len(copies)} copies are loaded: {', '.join(copies)}",
            "rebuild torch_neuron against the torch above",
        )
    return True


def engine_problem(error, torch_file):
    """Why torch_neuron's extension cannot be imported, as a sentence."""
    folder = os.path.dirname(__file__)
    there = sorted(name for name in os.listdir(folder) if name.startswith("_engine.") and name.endswith(".so"))
    if not there:
        return f"its extension is not there: {folder} has no _engine*.so"
    suffixes = importlib.machinery.EXTENSION_SUFFIXES
    if not any("_engine" + suffix in there for suffix in suffixes):
        return f"its extension {there[0]} is for another Python than this one, which reads _engine{suffixes[0]}"
    return f"its extension {there[0]} does not load beside the torch in {os.path.dirname(torch_file)}: {error}"


def explanation(error):
    """What the ImportError of torch_neuron says where it cannot be imported for that error."""
    if "torch" not in sys.modules:
        return f"torch_neuron needs torch, which cannot be imported ({error}): {TORCH_REMEDY}"
    return f"torch_neuron cannot be imported: {engine_problem(error, sys.modules['torch'].__file__)}: {ENGINE_REMEDY}"


def run_if_called():
    """Ends the process with the doctor's answer where it was started as ``python3 -m torch_neuron.doctor``."""
    if sys.argv[:1] == ["-m"] and {__name__, f"-m{__name__}"} & set(sys.orig_argv):
        sys.exit(main())


def check_blas(report):
    libraries = [os.path.realpath(path) for path in mapped("libblas") + mapped("libopenblas") + mapped("libmkl_rt")]
    fast = [path for path in libraries if "openblas" in path or "mkl" in path or "blis" in path]
    if fast:
        report.line("blas", fast[0])
    else:
        report.problem(
            "blas",
            f"matrix products run on the slow reference BLAS ({', '.join(libraries) or 'none found'})",
            "apt install libopenblas0-openmp (then update-alternatives chooses it)",
        )


def remedy_of(error):
    """What to do where the cores cannot be had."""
    if "held by" in str(error) or "holds" in str(error):
        return "end the process that holds the core, or choose others, or fewer, with the variables above"
    if error.code in ("core_unavailable", "invalid_argument"):
        return "correct or unset the variable"
    return "see docs/errors.md for " + error.code


def check_cores(report):
    """The cores; None where there is no engine."""
    import torch_neuron

    for variable in VARIABLES:
        if variable in os.environ:
            report.line("environment", f"{variable}={os.environ[variable]}")
    report.line("cpus", f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} may be used")
    try:
        cores = torch_neuron.status().cores
    except torch_neuron.NeuronError as e:
        report.problem("cores", str(e), remedy_of(e))
        return None
    for core in cores:
        report.line("core", f"nc:{core.index} is chip{core.chip}:core{core.core} (global {core.global_index})")
    if len(cores) > len(os.sched_getaffinity(0)):
        report.line("", "more cores than CPUs: they share them, which is right for tests and slow for work")
    return cores


def self_test(report):
    """A second of batches of uneven sizes over all cores, each compared with the model run alone."""
    import torch
    import torch_neuron

    warnings.simplefilter("ignore", torch_neuron.NeuronWarning)  # small batches leave cores idle on purpose
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 8)).eval()
    rows = calls = 0
    with torch.no_grad(), torch_neuron.DataParallel(torch_neuron.trace(model, torch.rand(16, 64))) as parallel:
        end = time.monotonic() + TEST_SECONDS
        while calls == 0 or time.monotonic() < end:
            images = torch.rand(1 + (37 * calls) % 200, 64)
            try:
                answer = parallel.submit(images).result(LONGEST_SECONDS)
            except concurrent.futures.TimeoutError:
                late = f"no answer came for {LONGEST_SECONDS:.0f} s"
                report.problem("self-test", late, "report this, with the lines above")
                return
            if not torch.allclose(answer, model(images), rtol=1e-4, atol=1e-5):
                report.problem("self-test", f"{len(images)} rows came back wrong", "report this, with the lines above")
                return
            rows, calls = rows + len(images), calls + 1
    report.line("self-test", f"{calls} calls, {rows} rows in {TEST_SECONDS:.0f} s, all right")


def main():
    try:
        return examine(Report())
    except BrokenPipeError:  # nobody reads on, as in `... | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def examine(report):
    """Prints all that there is to say; the exit status."""
    if check_packages(report):
        check_blas(report)
        if check_cores(report):
            try:
                self_test(report)
            except Exception as e:
                report.problem("self-test", f"{type(e).__name__}: {e}", "report this, with the lines above and these")
                traceback.print_exc()
    print(f"{report.problems} problem{'s' * (report.problems > 1)}, see above" if report.problems else "all is well")
    return 0 if report.problems == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
