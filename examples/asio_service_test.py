#!/usr/bin/python3
"""Drives the service of asio_service.cpp: asio_service_test.py PROGRAM FOLDER, the folder being examples/mnist.

Requests of many clients at once, compared with the module run alone; deadlines that cannot be met and lines that are no
requests; and the end by SIGTERM while requests are under way.
"""

import concurrent.futures
import contextlib
import gzip
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

import torch

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
FOLDER = pathlib.Path(sys.argv[2]).resolve()
CLIENTS = 16
PATIENT = 60_000


def read_digits():
    raw = gzip.decompress((FOLDER / "data/test-images-idx3-ubyte.gz").read_bytes())[16:]
    images = [raw[i : i + 784] for i in range(0, len(raw), 784)]
    pixels = torch.frombuffer(bytearray(raw), dtype=torch.uint8).reshape(-1, 1, 28, 28).float() / 255
    with torch.no_grad():
        digits = torch.jit.load(FOLDER / "mnist_cnn.pt").eval()(pixels).argmax(1).tolist()
    return images, digits


IMAGES, DIGITS = read_digits()


def line(image, milliseconds=PATIENT):
    return f"{milliseconds} {image.hex()}\n"


class Client:
    """A connection, read and written as lines."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("r")

    def send(self, text):
        self.socket.sendall(text.encode())

    def ask(self, text):
        self.send(text)
        return self.file.readline().rstrip("\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()


class Service(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "socket"
        command = [PROGRAM, FOLDER / "mnist_cnn.pt", self.path]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.process.stdout.close)
        self.addCleanup(self.process.kill)
        self.assertEqual(self.process.stdout.readline(), f"asio_service: ready at {self.path}\n")

    def end(self):
        """The numbers of the last line: requests, errors, and answers that shared an execution, after exit status 0."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self):
        text, _ = self.process.communicate(timeout=60)
        self.assertEqual(self.process.returncode, 0, text)
        return [int(number) for number in re.findall(r"\d+", text.split("asio_service:")[-1])]

    def test_requests_of_many_clients_share_executions_and_each_gets_its_own_answer(self):
        def ask_for(indices):
            with Client(self.path) as client:
                return [client.ask(line(IMAGES[i])) for i in indices]

        parts = [range(first, len(IMAGES), CLIENTS) for first in range(CLIENTS)]
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(ask_for, parts))
        for part, got in zip(parts, answers):
            self.assertEqual(got, [str(DIGITS[i]) for i in part])
        requests, errors, together = self.end()
        self.assertEqual((requests, errors), (len(IMAGES), 0))
        self.assertGreater(together, 0)

    def test_a_deadline_that_cannot_be_met_and_a_line_that_is_no_request_are_told_in_a_sentence(self):
        with Client(self.path) as client:
            late = client.ask(line(IMAGES[0], 0))
            self.assertRegex(late, r"^error\[deadline_exceeded\]: .*deadline")
            self.assertRegex(client.ask("classify this\n"), r"^error\[invalid_argument\]: a request is ")
            self.assertRegex(client.ask(f"{PATIENT} {'x' * 1568}\n"), r"^error\[invalid_argument\]: ")
            self.assertEqual(client.ask(line(IMAGES[1])), str(DIGITS[1]))
            client.send("1" * 2_000)  # never a line: the connection is closed
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(client.file.readline(), "")
        self.assertEqual(self.end(), [4, 3, 0])

    def test_sigterm_answers_what_was_sent_and_exits_with_0(self):
        each = 40
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(self.path)) for _ in range(CLIENTS)]
            for client in clients:  # each is accepted: it was answered once
                self.assertEqual(client.ask(line(IMAGES[0])), str(DIGITS[0]))
            for number, client in enumerate(clients):
                client.send("".join(line(IMAGES[number * each + i]) for i in range(each)))
            self.process.send_signal(signal.SIGTERM)
            for number, got in enumerate(pool.map(lambda client: client.file.read().split(), clients)):
                self.assertEqual(got, [str(digit) for digit in DIGITS[number * each : (number + 1) * each]])
        self.assertEqual(self.ended()[:2], [CLIENTS * (each + 1), 0])
        self.assertFalse(self.path.exists())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
