"""Fails unless the shared library is what a plugin can load: few needs, no state but one mark, no start-up code, hardened.

Arguments: readelf, nm, library.
"""
import re
import subprocess
import sys

NEEDS = ("libc", "libstdc++", "libgcc_s", "libm", "libcap", "ld-linux-x86-64", "ld-linux-aarch64")
# What compiler and linker make by themselves.
WRITABLE = re.compile(
    r"__dso_handle|completed\.\d+|DW\.ref\..*|__TMC_END__|_edata|_end|__bss_start|__data_start|data_start|"
    r"\S*fork_mark_\S*")  # by which a process knows its own handles


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def dynamic_section(readelf, library):
    text = output_of(readelf, "-dW", library)
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", text)
    soname = re.findall(r"\(SONAME\).*\[(.*)\]", text)
    flags = re.findall(r"\((?:FLAGS|FLAGS_1)\)\s+(.*)", text)
    init_size = re.findall(r"\(INIT_ARRAYSZ\)\s+(\d+)", text)
    return needed, soname, " ".join(flags), int(init_size[0]) if init_size else 0, text


def sections(readelf, library):
    """Name to (address, size)."""
    rows = re.findall(r"\[ *\d+\] (\S+) +\S+ +([0-9a-f]+) [0-9a-f]+ ([0-9a-f]+)", output_of(readelf, "-SW", library))
    return {name: (int(address, 16), int(size, 16)) for name, address, size in rows}


def writable_symbols(nm, library, found):
    """Names of what lies in .data and .bss."""
    rows = re.findall(r"^([0-9a-f]+) (?:[0-9a-f]+ )?([A-Za-z]) (\S+)$", output_of(nm, library), re.M)
    ranges = [found[name] for name in (".data", ".bss", ".tdata", ".tbss") if name in found]
    return sorted(name for address, kind, name in rows
                  if kind in "bdBDgGsSu" and any(start <= int(address, 16) < start + size for start, size in ranges))


def main():
    readelf, nm, library = sys.argv[1:]
    problems = []
    needed, soname, flags, init_size, dynamic = dynamic_section(readelf, library)
    problems += [f"needs {name}" for name in needed if name.split(".so")[0] not in NEEDS]
    if soname != ["librp_handoff.so.0"]:
        problems.append(f"soname {soname}")
    if "NOW" not in flags:
        problems.append("not bound at load time: no full RELRO")
    if "TEXTREL" in dynamic:
        problems.append("text relocations")
    if re.search(r"\((RPATH|RUNPATH)\)", dynamic):
        problems.append("a path to other libraries is built in")
    headers = output_of(readelf, "-lW", library)
    if "GNU_RELRO" not in headers:
        problems.append("no RELRO segment")
    stack = re.search(r"GNU_STACK.* (R\S*) +0x", headers)
    if stack is None or "E" in stack.group(1):
        problems.append("executable stack")
    found = sections(readelf, library)
    if init_size > 8:  # one entry: frame_dummy of the compiler
        problems.append(f"{init_size // 8} functions run when the library is loaded")
    problems += [f"thread-local storage: {name}" for name in (".tdata", ".tbss") if name in found]
    problems += [f"writable: {name}" for name in writable_symbols(nm, library, found) if not WRITABLE.fullmatch(name)]
    if " u " in output_of(nm, library):
        problems.append("unique symbols, which keep the library from being unloaded")
    print("\n".join(problems) or "as it should be")
    return 1 if problems else 0


sys.exit(main())
