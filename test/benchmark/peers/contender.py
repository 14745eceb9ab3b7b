"""One contender of the peers' table, as a process: contender.py KIND OPTIONS, of which the latter is a JSON object.

It makes itself ready, answers one line, and then does what each line of its input says: `choose SECONDS` tries its
settings for so long each and keeps the best, `measure SECONDS` measures that one. An answer is one line, a JSON object
with `rows_per_second` and `choice`. The first one has how far the outputs are from those of the module alone, for the
setting that is farthest.

    ganglion   the engine through its Python module, an artifact a compiled batch
    pool       PyTorch in a pool of Python threads that does what torch-neuron documents
    onnx       ONNX Runtime, in the Python of its own environment

A setting is a list of calls, each of which a thread of its own repeats: one call at a time where there is one.
"""

import concurrent.futures
import json
import sys
import threading
import time

import numpy

CORES = 2


def ganglion(options):
    """One model for so many callers."""
    import torch
    import torch_neuron  # noqa: F401

    def call_of(artifact):
        parallel = torch.neuron.DataParallel(torch.jit.load(artifact))
        return lambda x: parallel(torch.from_numpy(x)).numpy()

    return {f"batch {batch}": [call_of(path)] * options["callers"] for batch, path in options["artifacts"].items()}


def pool(options):
    """torch-neuron's page: a module a core, 2 x cores threads; the rows are narrowed to chunks, a chunk to compiled
    batches, of which the last is padded; all of it is joined by cat. A chunk is a core's share of the rows or, since
    other sizes may be asked for, one compiled batch."""
    import torch

    torch.set_num_threads(options["threads"])
    models = [torch.jit.load(options["model"]).eval() for _ in range(CORES)]
    if options["frozen"]:
        models = [torch.jit.freeze(model) for model in models]
    workers = concurrent.futures.ThreadPoolExecutor(2 * CORES)

    def run(model, chunk, batch):
        outputs = []
        with torch.inference_mode():
            for start in range(0, len(chunk), batch):
                rows = chunk.narrow(0, start, min(batch, len(chunk) - start))
                if len(rows) < batch:
                    rows = torch.cat([rows, rows.new_zeros(batch - len(rows), *rows.shape[1:])])
                outputs.append(model(rows))
            return torch.cat(outputs).narrow(0, 0, len(chunk)) if len(outputs) > 1 else outputs[0][: len(chunk)]

    def call_of(batch, size):
        def call(x):
            x = torch.from_numpy(x)
            starts = range(0, len(x), size)
            futures = [
                workers.submit(run, models[i % CORES], x.narrow(0, start, min(size, len(x) - start)), batch)
                for i, start in enumerate(starts)
            ]
            return torch.cat([f.result() for f in futures]).numpy()

        return call

    share = options["rows"] // CORES
    sizes = {f"batch {batch}, {name}": (batch, size) for batch in options["batches"]
             for name, size in (("a chunk a core", share), ("a chunk a batch", batch))}
    return {name: [call_of(*both)] for name, both in sizes.items()}


def onnx(options):
    """One session on so many intra-op threads, or several of which each has a caller of its own."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options["threads"]
    settings.inter_op_num_threads = 1

    def call_of(session, batch):
        def call(x):
            answer = numpy.empty([len(x), *options["output"]], numpy.float32)
            for start in range(0, len(x), batch):
                answer[start : start + batch] = session.run(None, {"x": x[start : start + batch]})[0]
            return answer

        return call

    sessions = [onnxruntime.InferenceSession(options["model"], settings, providers=["CPUExecutionProvider"])
                for _ in range(options["sessions"])]
    return {f"batch {batch}": [call_of(session, batch) for session in sessions] for batch in options["batches"]}


def rows_per_second(calls, x, seconds):
    """Of all callers together, each of which is measured while the others are at it: it makes a call before, for its
    first one may not have to wait for theirs, and goes on until all were measured."""
    measured = []
    started = threading.Barrier(len(calls))

    def repeat(call):
        try:
            started.wait()
            call(x)
            count, start = 0, time.perf_counter()
            while time.perf_counter() - start < seconds:
                call(x)
                count += 1
            rate = count * len(x) / (time.perf_counter() - start)
        finally:
            measured.append(call)  # of one that fails, too, or the others would go on for ever
        while len(measured) < len(calls):
            call(x)
        return rate

    with concurrent.futures.ThreadPoolExecutor(len(calls)) as callers:
        return sum(callers.map(repeat, calls))


def deviation(found, wanted):
    return float(numpy.linalg.norm(found - wanted) / numpy.linalg.norm(wanted))


def agreement(found, wanted):
    """The share of rows of the same class; None where they are no classes."""
    return float((found.argmax(1) == wanted.argmax(1)).mean()) if wanted.ndim == 2 else None


def say(**what):
    print(json.dumps(what), flush=True)


def main():
    options = json.loads(sys.argv[2])
    settings = {"ganglion": ganglion, "pool": pool, "onnx": onnx}[sys.argv[1]](options)
    x = numpy.load(options["input"])
    wanted = numpy.load(options["answer"])
    answers = [call(x) for calls in settings.values() for call in calls]
    shares = [agreement(answer, wanted) for answer in answers]
    say(relative_l2=max(deviation(answer, wanted) for answer in answers),
        top1_agreement=None if None in shares else min(shares))
    best = next(iter(settings))
    for line in sys.stdin:
        what, seconds = line.split()
        if what == "choose":
            rates = {name: rows_per_second(calls, x, float(seconds)) for name, calls in settings.items()}
            best = max(rates, key=rates.get)
            say(rows_per_second=rates[best], choice=best)
        else:
            say(rows_per_second=rows_per_second(settings[best], x, float(seconds)), choice=best)


if __name__ == "__main__":
    main()
