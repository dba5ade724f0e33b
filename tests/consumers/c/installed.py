"""A consumer that is built with plain cc and pkg-config against what this build installs.

Arguments: meson, build directory, C compiler with its flags.
"""
import os
import sys

import scratch

meson, build, *compiler = sys.argv[1:]
source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "project", "consumer.c")

with scratch.directory() as place:
    root = os.path.join(place, "root")
    consumer = os.path.join(place, "consumer")
    scratch.run(meson, "install", "-C", build, "--no-rebuild", "--destdir", root)
    flags = scratch.pkg_config(root, "--cflags", "--libs")
    scratch.run(*compiler, "-std=c99", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wpedantic", "-Werror", source, "-o",
                consumer, *flags)
    output = scratch.run(consumer, LD_LIBRARY_PATH=scratch.library_directory(root))
    scratch.expect(output, "completed, served by the backend")
