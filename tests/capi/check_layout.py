"""Fails if a public struct or constant is not as pinned in layout.txt: sizes, offsets, numbers. None of them may change
by accident; and none has padding, so that a struct ends where its next member will begin.

Arguments: C compiler, include directory, layout.txt, and --write to pin what there is now.
"""
import difflib
import os
import subprocess
import sys
import tempfile

from header import Header


def probe(header):
    """A C program that prints the layout."""
    lines = ["#include <stdio.h>", '#include "rp_handoff.h"', "int main(void) {"]
    for name, members in sorted(header.structs().items()):
        lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
        lines += [f'printf("  {m} %zu %zu\\n", offsetof({name}, {m}), sizeof((({name} *)0)->{m}));' for m in members]
    for name in header.constants():
        lines.append(f'printf("{name} %lld\\n", (long long)({name}));')
    return "\n".join(lines + ["return 0;", "}"])


def run(compiler, include, program):
    with tempfile.TemporaryDirectory() as directory:
        source = os.path.join(directory, "layout.c")
        binary = os.path.join(directory, "layout")
        with open(source, "w", encoding="utf-8") as file:
            file.write(program)
        subprocess.run([*compiler.split(), "-std=c99", "-I", include, source, "-o", binary], check=True)
        return subprocess.run([binary], check=True, capture_output=True, text=True).stdout


def padded(layout):
    """Structs in which a member does not begin where the one before it ends."""
    found = []
    struct, size, end = None, 0, 0
    for words in (line.split() for line in (layout + "END 0\n").splitlines()):
        if len(words) == 3:
            if int(words[1]) != end:
                found.append(f"{struct}: padding before {words[0]}")
            end = int(words[1]) + int(words[2])
        else:
            if struct is not None and end not in (0, size):
                found.append(f"{struct}: padding at the end")
            struct, size, end = words[0], int(words[1]), 0
    return found


def main():
    compiler, include, pinned_path = sys.argv[1:4]
    header = Header(os.path.join(include, "rp_handoff.h"))
    layout = run(compiler, include, probe(header))
    if sys.argv[4:] == ["--write"]:
        with open(pinned_path, "w", encoding="utf-8") as file:
            file.write(layout)
    with open(pinned_path, encoding="utf-8") as file:
        pinned = file.read()
    difference = list(difflib.unified_diff(pinned.splitlines(), layout.splitlines(), "pinned", "now", lineterm="", n=1))
    problems = padded(layout) + difference
    print("\n".join(problems) or "as pinned")
    return 1 if problems else 0


sys.exit(main())
