"""What the scenarios are made of: processes that print JSON, the places where they meet, and the table of what was seen."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

PATIENCE = 60  # seconds until something is taken for stuck; nothing is ever this late


class Stuck(Exception):
    pass


class Contains(str):
    """A text that is expected inside another."""

    def __eq__(self, other):
        return isinstance(other, str) and str(self) in other

    __hash__ = str.__hash__


class OneOf(tuple):
    def __eq__(self, other):
        return any(other == choice for choice in self)

    __hash__ = tuple.__hash__


class Program:
    """A process of the scenario's own, in a process group of its own."""

    def __init__(self, command, stdin=subprocess.DEVNULL):
        self.command = command
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.PIPE, stderr=self.errors, start_new_session=True)
        self.pid = self.process.pid
        self.buffer = b""

    def line(self):
        """The next line of its output as a dictionary; an empty one at its end."""
        while b"\n" not in self.buffer:
            self.wait_readable()
            part = os.read(self.process.stdout.fileno(), 65536)
            if not part:
                return {}
            self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def is_silent(self, seconds):
        """Whether nothing at all comes within that time."""
        return not self.buffer and not select.select([self.process.stdout], [], [], seconds)[0]

    def wait_readable(self):
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            raise Stuck(f"no output of {self.command}")

    def lines(self):
        """All lines until its end."""
        found = []
        while line := self.line():
            found.append(line)
        self.process.wait(PATIENCE)
        return found

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self):
        """Stopped when this returns."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def go_on(self):
        os.kill(self.pid, signal.SIGCONT)

    def end(self):
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(PATIENCE)
        self.process.stdout.close()
        self.errors.close()
        if self.process.stdin:
            self.process.stdin.close()


class Peer:
    """One implementation: rp-ours, or rp-peer of one release."""

    def __init__(self, name, binary, release=None):
        self.name = name
        self.binary = binary
        self.release = release  # of the crate

    def command(self, side, **options):
        command = [self.binary, side]
        for key, value in options.items():
            flag = "--" + key.replace("_", "-")
            if value is True:
                command.append(flag)
            elif value not in (None, False):
                command += [flag, str(value)]
        return command


class Scene:
    """A private directory and the processes that meet in it, all ended with it."""

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="rp-")
        self.closers = []
        return self

    def __exit__(self, *_):
        for close in reversed(self.closers):
            close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.directory, name)

    def start(self, peer, side, wrapper=(), stdin=subprocess.DEVNULL, **options):
        program = Program([*wrapper, *peer.command(side, **options)], stdin)
        self.closers.append(program.end)
        return program

    def start_listening(self, peer, side, name, wrapper=(), **options):
        """Started, and returned once somebody listens at that name."""
        program = self.start(peer, side, wrapper, listen=self.path(name), **options)
        self.await_listener(name, program)
        return program

    def await_listener(self, name, program):
        self.await_socket(is_listening, name, program)

    def await_connection(self, name, program):
        self.await_socket(is_connected, name, program)

    def await_socket(self, condition, name, program):
        give_up = time.monotonic() + PATIENCE
        while not condition(self.path(name)):
            if program.process.poll() is not None or time.monotonic() > give_up:
                program.errors.seek(0)
                raise Stuck(f"nobody is at {name}: {program.command}: {program.errors.read().decode()}")
            time.sleep(0.002)

    def target(self, family):
        return self.own(Target(family, self.path("target")))

    def endpoint(self):
        return self.own(Endpoint(self.path("backend")))

    def own(self, thing):
        self.closers.append(thing.close)
        return thing


def sockets_at(path):
    """Looked up, not dialled: a connection would count as a visit."""
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as table:
        return [columns[3] for columns in map(str.split, table) if columns[-1] == path]


def is_listening(path):
    return "00010000" in sockets_at(path)


def is_connected(path):
    return "00000000" in sockets_at(path)


class Target:
    """The far end of a connection that is handed over: what a client would be."""

    def __init__(self, family, path):
        self.listener = socket.socket(socket.AF_INET if family == "tcp" else socket.AF_UNIX)
        self.listener.bind(("127.0.0.1", 0) if family == "tcp" else path)
        self.listener.listen()
        self.listener.settimeout(PATIENCE)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1] if family == "tcp" else "unix:" + path
        self.connection = None

    def ask(self):
        """Says one byte to whoever holds the connection; the answer is that byte and a process id, or nothing."""
        self.connection, _ = self.listener.accept()
        self.connection.settimeout(PATIENCE)
        try:
            self.connection.sendall(b"x")
        except (BrokenPipeError, ConnectionResetError):
            pass  # it is over already; answer() tells

    def answer(self):
        """(byte, process id), or None at the end of the connection, which comes once every copy of it is closed."""
        line = b""
        try:
            while not line.endswith(b"\n"):
                part = self.connection.recv(64)
                if not part:
                    return None
                line += part
        except ConnectionResetError:
            return None
        return line[:1].decode(), int(line[1:])

    def close(self):
        self.listener.close()
        if self.connection:
            self.connection.close()


class Endpoint:
    """Where clients reconnect to; served by this process. `held` keeps the answers back until `let_go`."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.path = path
        self.visited = threading.Event()
        self.free = threading.Event()
        self.free.set()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                self.visited.set()
                self.free.wait(PATIENCE)
                byte = connection.recv(1)
                if byte:
                    connection.sendall(byte + b"%d\n" % os.getpid())

    def hold(self):
        self.free.clear()

    def let_go(self):
        self.free.set()

    def close(self):
        self.let_go()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def words(values):
    def word(value):
        if value is None:
            return "-"
        return str(value).lower() if isinstance(value, bool) else str(value)

    return ", ".join(f"{key} {word(value)}" for key, value in values.items())


class Table:
    """Counts and prints what was expected and what was seen."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def begin(self, title):
        print(f"\n== {title} ==\n{'':4} | sides | crate | scenario | expected | seen")

    def row(self, sides, release, scenario, expected, seen):
        """`seen` may hold more than what is expected of it."""
        kept = {key: seen.get(key) for key in expected}
        good = all(value == kept[key] for key, value in expected.items())
        self.count(good)
        print(f"{'ok' if good else 'FAIL':4} | {sides} | {release or '-'} | {scenario} | {words(expected)} | {words(kept)}")
        if not good:
            print(f"     everything that was seen: {seen}")

    def scenario(self, sides, release, name, expected, body):
        """`body` plays it in a scene of its own and returns what was seen."""
        try:
            with Scene() as scene:
                seen = body(scene)
        except (Stuck, OSError) as error:
            self.count(False)
            print(f"FAIL | {sides} | {release or '-'} | {name} | {words(expected)} | {error}")
        else:
            self.row(sides, release, name, expected, seen)

    def information(self, sides, release, what, text):
        print(f"{'':4} | {sides} | {release or '-'} | {what} | - | {text}")

    def broken(self, name, why):
        self.count(False)
        print(f"FAIL | {name} | {why}")

    def skip(self, name, why):
        self.skipped += 1
        print(f"skipped: {name}: {why}")

    def count(self, good):
        if good:
            self.passed += 1
        else:
            self.failed += 1
