"""The README's two programs are the files of capi/examples, and they do what it says."""
import os
import signal
import socket
import subprocess
import sys
import tempfile

BROKER, BACKEND, SOURCE_ROOT = sys.argv[1:4]
WAIT = 20  # seconds; only a failure takes that long
cases = {}


def case(function):
    cases[function.__name__.replace("_", " ")] = function


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(port, broker):
    """The broker says nothing when it is ready, so ask until it is."""
    while broker.poll() is None:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=WAIT)
        except ConnectionRefusedError:
            pass
    raise AssertionError("the broker ended")


class Programs:
    """One broker and one backend, ended with the block."""

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory()
        path = os.path.join(self.directory.name, "b.sock")
        self.backend = subprocess.Popen([BACKEND, path])
        while not os.path.exists(path):
            assert self.backend.poll() is None, "the backend ended"
        self.port = free_port()
        self.broker = subprocess.Popen([BROKER, str(self.port), path], stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *unused):
        for program in (self.broker, self.backend):
            program.kill()
            program.wait()
        self.broker.stdout.close()
        self.directory.cleanup()


@case
def the_readme_shows_the_examples_as_they_are():
    with open(os.path.join(SOURCE_ROOT, "README.md"), encoding="utf-8") as file:
        readme = file.read()
    for name in ("broker.c", "backend.c"):
        with open(os.path.join(SOURCE_ROOT, "capi", "examples", name), encoding="utf-8") as file:
            assert "```c\n" + file.read() + "```\n" in readme, name


@case
def the_backend_answers_on_the_connection_that_the_broker_accepted():
    with Programs() as programs:
        for _ in range(3):
            with connect(programs.port, programs.broker) as client:
                client.sendall(b"hi\n")
                answer = client.makefile().read()
            assert answer == f"hello from process {programs.backend.pid}\n", answer
            assert programs.broker.stdout.readline() == "ok\n"


@case
def a_client_of_a_dead_backend_sees_the_end_of_its_connection():
    with Programs() as programs:
        programs.backend.send_signal(signal.SIGKILL)
        programs.backend.wait()
        with connect(programs.port, programs.broker) as client:
            assert client.recv(1) == b""
        assert "nobody serves the backend socket" in programs.broker.stdout.readline()


failed = 0
for name, run in cases.items():
    try:
        run()
    except AssertionError as problem:
        failed += 1
        print(f"FAILED: {name}: {problem}")
print(f"{len(cases) - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)
