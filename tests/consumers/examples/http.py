"""The HTTP examples: what clients do to each other, which is nothing."""
import os
import socket
import subprocess
import sys
import tempfile
import threading

BROKER, BACKEND = sys.argv[1:3]
WAIT = 20  # seconds; only a failure takes that long
cases = {}


def case(function):
    cases[function.__name__.replace("_", " ")] = function


class Programs:
    """A broker and a backend called "blue", ended with the block."""

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory()
        self.programs = [subprocess.Popen([BACKEND, os.path.join(self.directory.name, "blue.sock")],
                                          stdout=subprocess.PIPE, text=True)]
        assert self.programs[0].stdout.readline() == "ready\n"
        self.programs.append(subprocess.Popen([BROKER, self.directory.name], stdout=subprocess.PIPE, text=True))
        self.port = int(self.programs[1].stdout.readline().split()[1])
        return self

    def __exit__(self, *unused):
        for program in self.programs:
            program.kill()
            program.wait()
            program.stdout.close()
        self.directory.cleanup()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT)

    def get(self, path):
        """Who answers: "backend" or "broker"."""
        with self.connect() as client:
            client.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
            return client.makefile().read().split("\n\n")[-1].split()[0]


@case
def names_that_nobody_has_take_no_place():
    with Programs() as programs:
        for name in ["x" * 40, *("abcdefghijklmnopqrstuvwxyz"[i:] for i in range(20))]:
            assert programs.get(f"/{name}/page") == "broker", name
        assert programs.get("/blue/page") == "backend"


def is_at_end(client):
    try:
        return client.recv(1) == b""
    except ConnectionResetError:  # it had bytes unread
        return True


def drip(client, until):
    """A byte every now and then, for as long as the other end takes them."""
    try:
        while not until.wait(0.2):
            client.sendall(b"G")
    except OSError:
        pass


@case
def a_slow_client_keeps_nobody_waiting_and_the_broker_does_not_wait_for_ever():
    with Programs() as programs, programs.connect() as slow, programs.connect() as quiet:
        until = threading.Event()
        dripping = threading.Thread(target=drip, args=(slow, until))
        dripping.start()
        try:
            for _ in range(3):
                assert programs.get("/blue/page") == "backend"
            assert quiet.recv(1) == b""
            assert is_at_end(slow)
        finally:
            until.set()
            dripping.join()


failed = 0
for name, run in cases.items():
    try:
        run()
    except (AssertionError, OSError) as problem:
        failed += 1
        print(f"FAILED: {name}: {problem!r}")
print(f"{len(cases) - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)
