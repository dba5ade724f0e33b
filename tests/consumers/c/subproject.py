"""A Meson project that has this one as a subproject: linked with the shared library and with the static one. Then the
static library as it is installed, with plain cc and `pkg-config --static`.

Arguments: meson, source directory, C compiler. One build serves all three, since it takes its time.
"""
import glob
import json
import os
import shutil
import sys

import scratch

meson, source, *compiler = sys.argv[1:]
project = os.path.join(os.path.dirname(os.path.abspath(__file__)), "project")


def set_up(place, kind):
    build = os.path.join(place, kind)
    scratch.run(meson, "setup", build, os.path.join(place, "project"), "--wrap-mode=forcefallback",
                f"-Ddefault_library={kind}", "-Dbuildtype=plain")
    return build


def check_served(consumer, shared):
    if ("librp_handoff.so.0" in scratch.run("readelf", "-d", consumer)) != shared:
        sys.exit(f"{consumer} is linked with the wrong library")
    scratch.expect(scratch.run(consumer), "completed, served by the backend")


def check_kind(build, wanted):
    targets = json.loads(scratch.run(meson, "introspect", "--targets", build))
    kinds = [target["type"] for target in targets if target["name"] == "rp_handoff"]
    if kinds != [wanted]:
        sys.exit(f"the subproject does not follow its parent: {kinds}, not {wanted}")


def consume_static_installation(place, build):
    root = os.path.join(place, "root")
    consumer = os.path.join(place, "consumer")
    scratch.run(meson, "install", "-C", build, "--no-rebuild", "--destdir", root)
    for shared in glob.glob(os.path.join(scratch.library_directory(root), "*.so*")):
        os.remove(shared)
    flags = scratch.pkg_config(root, "--static", "--cflags", "--libs")
    scratch.run(*compiler, "-std=c99", "-D_GNU_SOURCE", os.path.join(project, "consumer.c"), "-o", consumer, *flags)
    check_served(consumer, shared=False)


with scratch.directory() as place:
    shutil.copytree(project, os.path.join(place, "project"))
    os.mkdir(os.path.join(place, "project", "subprojects"))
    os.symlink(source, os.path.join(place, "project", "subprojects", "rp_handoff"))
    check_kind(set_up(place, "static"), "static library")
    check_kind(set_up(place, "shared"), "shared library")
    build = set_up(place, "both")
    scratch.run(meson, "compile", "-C", build)
    check_served(os.path.join(build, "consumer"), shared=True)
    check_served(os.path.join(build, "consumer_static"), shared=False)
    consume_static_installation(place, build)
