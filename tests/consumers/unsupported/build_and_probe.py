"""Builds the library anew for a platform that cannot pass descriptors, without libcap, and asks it what it can do.

Arguments: meson, source directory, C compiler.
"""
import os
import sys

import scratch

meson, source, *compiler = sys.argv[1:]
probe = os.path.join(os.path.dirname(os.path.abspath(__file__)), "probe.c")

with scratch.directory() as place:
    build = os.path.join(place, "build")
    binary = os.path.join(place, "probe")
    scratch.run(meson, "setup", build, source, "-Dtests=false", "-Dbuildtype=plain", "-Dtransport=unsupported",
                "-Dlibcap=disabled")
    scratch.run(meson, "compile", "-C", build, "rp_handoff:shared_library")
    library = os.path.join(build, "capi")
    scratch.run(*compiler, "-std=c99", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wpedantic", "-Werror", probe, "-o", binary,
                "-I", os.path.join(source, "include"), "-L", library, "-lrp_handoff")
    if "libcap" in scratch.run("readelf", "-d", os.path.join(library, "librp_handoff.so.0")):
        sys.exit("the library needs libcap")
    scratch.expect(scratch.run(binary, LD_LIBRARY_PATH=library), "unsupported in every way")
