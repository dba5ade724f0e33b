"""What the tests of consumers share: a scratch directory, and commands whose output is shown if they fail."""
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile


@contextlib.contextmanager
def directory():
    name = tempfile.mkdtemp(prefix="rp-handoff-")
    try:
        yield name
    finally:
        shutil.rmtree(name)


def run(*command, **environment):
    """The command's output."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, env={**os.environ, **environment})
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout}\nended with {done.returncode}")
    return done.stdout


def pkg_config(destination, *arguments):
    """Flags of an installation whose root is `destination`."""
    for path, _, files in os.walk(destination):
        if "rp_handoff.pc" in files:
            flags = run("pkg-config", *arguments, "rp_handoff", PKG_CONFIG_PATH=path,
                        PKG_CONFIG_SYSROOT_DIR=destination)
            return flags.split()
    sys.exit("rp_handoff.pc was not installed")


def library_directory(destination):
    for path, _, files in os.walk(destination):
        if any(name.startswith("librp_handoff.") for name in files):
            return path
    sys.exit("no library was installed")


def expect(output, text):
    print(output, end="")
    if text not in output:
        sys.exit(f"expected: {text}")
