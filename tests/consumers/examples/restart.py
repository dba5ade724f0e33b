"""The example restart: a server that hands all its live connections to the next process, again and again."""
import os
import resource
import signal
import socket
import subprocess
import sys
import threading

RESTART = sys.argv[1]
WAIT = 30  # seconds; only a failure takes that long
CLIENTS = 300  # more than are in flight at a time
cases = {}


def case(function):
    cases[function.__name__.replace("_", " ")] = function


class Client:
    def __init__(self, port, server):
        self.socket = None
        while self.socket is None:
            assert server.poll() is None, "the server ended"
            try:
                self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT)
            except ConnectionRefusedError:  # it says nothing when it is ready
                pass
        self.lines = self.socket.makefile()

    def say(self, text):
        self.socket.sendall(text.encode())

    def hear(self):
        """(process id, line)"""
        pid, line = self.lines.readline().split(" ", 1)
        return int(pid), line

    def close(self):
        self.lines.close()
        self.socket.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """Its processes are of one group, which ends with the block."""

    def __init__(self, *program, files=None, clients=CLIENTS):
        self.port = free_port()
        limit = None if files is None else lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        self.process = subprocess.Popen([*program, str(self.port)], executable=RESTART, start_new_session=True,
                                        preexec_fn=limit)
        self.count = clients
        self.clients = []

    def __enter__(self):
        self.clients = [Client(self.port, self.process) for _ in range(self.count)]
        return self

    def __exit__(self, *unused):
        for client in self.clients:
            client.close()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ask_all(self, said="", rest="hello\n"):
        """The one process that answers all, of whose line `said` has been said."""
        pids = set()
        for client in self.clients:
            client.say(rest)
            pid, line = client.hear()
            assert line == said + rest, line
            pids.add(pid)
        assert len(pids) == 1, pids
        return pids.pop()


def talk(client, until, seen):
    """Lines in two halves, one after the other: each must be answered whole, in order."""
    number = 0
    while not until.is_set():
        client.say(f"line {number}")
        client.say(" of many\n")
        pid, line = client.hear()
        assert line == f"line {number} of many\n", line
        seen.add(pid)
        number += 1
    seen.add("all right")


@case
def all_connections_go_to_the_new_process_and_half_a_line_with_them():
    with Server(RESTART) as server:
        first = server.ask_all()
        assert first == server.process.pid
        for client in server.clients:
            client.say("half a")
        os.kill(first, signal.SIGHUP)
        assert server.process.wait(WAIT) == 0
        second = server.ask_all("half a", " line\n")
        assert second != first
        server.clients.append(Client(server.port, FakeProcess))
        assert server.ask_all() == second


@case
def it_goes_on_while_clients_talk_and_several_times():
    with Server(RESTART) as server:
        until, seen = threading.Event(), [set() for _ in range(8)]
        talkers = [threading.Thread(target=talk, args=(client, until, of_one))
                   for client, of_one in zip(server.clients, seen)]
        for talker in talkers:
            talker.start()
        rest = server.clients[8:]
        pids = []
        for _ in range(4):
            rest[0].say("who?\n")
            pids.append(rest[0].hear()[0])
            os.kill(pids[-1], signal.SIGHUP)
            while pids[-1] == ask(rest[0]):
                pass
        until.set()
        for talker in talkers:
            talker.join(WAIT)
        assert all("all right" in of_one for of_one in seen), seen
        assert len(set(pids)) == 4, pids


@case
def it_serves_as_many_as_its_limit_of_descriptors_allows():
    with Server(RESTART, files=200, clients=60) as server:  # fewer than it has places for
        assert server.ask_all() == server.process.pid
        os.kill(server.process.pid, signal.SIGHUP)
        assert server.process.wait(WAIT) == 0
        assert server.ask_all() != server.process.pid


@case
def a_new_program_that_does_not_come_up_changes_nothing():
    with Server("/bin/false") as server:
        for _ in range(3):
            os.kill(server.process.pid, signal.SIGHUP)
            assert server.ask_all() == server.process.pid
        assert server.process.poll() is None


class FakeProcess:
    """The server is no child of this process any more."""

    @staticmethod
    def poll():
        return None


def ask(client):
    client.say("who?\n")
    return client.hear()[0]


failed = 0
for name, run in cases.items():
    try:
        run()
    except (AssertionError, OSError, ValueError, subprocess.TimeoutExpired) as problem:
        failed += 1
        print(f"FAILED: {name}: {problem!r}")
print(f"{len(cases) - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)
