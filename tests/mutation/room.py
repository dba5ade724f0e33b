"""A room: a copy of the tree with a build of its own, in which one mutant at a time is built and tested."""
import collections
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

SLOW = {"slow", "no-valgrind"}  # the latter are checks of sources, of the header, of other people's toolchains


class Broken(Exception):
    """The tree by itself does not do what a mutant is to be held to."""


def quiet(command, directory, timeout=None, env=None):
    """Its exit status, -1 at the timeout; whatever it started is gone then."""
    process = subprocess.Popen(command, cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return -1
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


class Test:
    def __init__(self, described, build, filenames):
        self.name = described["name"]
        self.command = described["cmd"]
        self.directory = described["workdir"] or build
        self.env = dict(os.environ, **described["env"])
        self.targets = [os.path.relpath(filenames[one], build) for one in described["depends"]]
        self.longest = described["timeout"]
        self.seconds = 0.0  # that it takes without a mutant
        self.kills = collections.Counter()  # by wing

    def passes(self, timeout):
        return quiet(self.command, self.directory, timeout, self.env) == 0

    def measure(self):
        started = time.monotonic()
        if not self.passes(self.longest):
            raise Broken(f"{self.name} fails without a mutant")
        self.seconds = time.monotonic() - started

    def worth(self, wing):
        """Kills in a second, as far as is known."""
        unit_test = 5 * (self.name.startswith("lib ") and wing in self.name)
        return (self.kills[wing] + 1 + unit_test) / (self.seconds + 0.2)

    def kills_mutant(self):
        return not self.passes(min(self.longest, 5 * self.seconds + 15))


class Room:
    def __init__(self, root, directory, wanted_tests):
        os.makedirs(directory, exist_ok=True)
        self.tree = os.path.join(directory, "tree")
        self.build = os.path.join(directory, "build")
        self.copy(root)
        self.env = dict(os.environ, CCACHE_BASEDIR=self.tree, CCACHE_NOHASHDIR="1")
        if shutil.which("ccache"):
            self.env.update(CC="ccache gcc", CXX="ccache g++")
        fresh = not os.path.exists(os.path.join(self.build, "build.ninja"))
        if fresh and quiet(["meson", "setup", self.build, self.tree], directory, env=self.env) != 0:
            raise Broken(f"meson setup {self.build}")
        self.tests = self.find_tests(wanted_tests)
        if not self.ninja(*self.archives(), *{target for test in self.tests for target in test.targets}):
            raise Broken(f"ninja -C {self.build}")
        self.objects = self.hashes()

    def copy(self, root):
        """What is the same stays as old as it is, so that it need not be built again."""
        listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=root, check=True,
                                capture_output=True, text=True).stdout.split("\n")
        for name in filter(None, listed):
            source, target = os.path.join(root, name), os.path.join(self.tree, name)
            if not os.path.exists(source):
                continue
            with open(source, "rb") as file:
                content = file.read()
            if os.path.exists(target):
                with open(target, "rb") as file:
                    if file.read() == content:
                        continue
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(source, target)

    def ninja(self, *targets):
        return quiet(["ninja", "-j1", "-C", self.build, *targets], self.tree, 900, self.env) == 0

    def introspected(self, what):
        return json.loads(subprocess.run(["meson", "introspect", what, self.build], check=True, capture_output=True,
                                         text=True).stdout)

    def find_tests(self, wanted):
        filenames = {one["id"]: one["filename"][0] for one in self.introspected("--targets")}
        fast = [one for one in self.introspected("--tests") if not SLOW & {n.split(":")[-1] for n in one["suite"]}]
        return [Test(one, self.build, filenames) for one in fast if not wanted or one["name"] in wanted]

    def measure(self):
        for test in self.tests:
            test.measure()

    def archives(self):
        """Of the core. They are listed by their objects' folders, which are there before they are."""
        return [f"lib/{name[:-2]}" for name in os.listdir(f"{self.build}/lib") if name.endswith(".a.p")]

    def hashes(self):
        """Of the core's objects, as they are without what only a debugger reads."""
        found = {}
        for archive in self.archives():
            folder = os.path.join(self.build, archive + ".p")
            for name in os.listdir(folder):
                if name.endswith(".o"):
                    found[os.path.join(folder, name)] = stripped_hash(os.path.join(folder, name))
        return found

    def judge(self, mutant):
        """'does not compile', 'the same', 'survived', or the name of the test that killed it."""
        path = os.path.join(self.tree, mutant.file)
        with open(path, encoding="utf-8") as file:
            original = file.read()
        try:
            write(path, mutant.applied_to(original))
            if not self.ninja(*self.archives()):
                return "does not compile"
            if self.hashes() == self.objects:
                return "the same"
            return self.first_killer(mutant.file.split("/")[1])
        finally:
            write(path, original)

    def first_killer(self, wing):
        """Linked is only what the next test needs."""
        for test in sorted(self.tests, key=lambda one: one.worth(wing), reverse=True):
            if not self.ninja(*test.targets):
                return "does not compile"  # a header's, in a test
            if test.kills_mutant():
                test.kills[wing] += 1
                return test.name
        return "survived"


def stripped_hash(path):
    with tempfile.NamedTemporaryFile() as stripped:
        subprocess.run(["strip", "-g", "-o", stripped.name, path], check=True)
        with open(stripped.name, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
