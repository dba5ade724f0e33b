"""Fails unless the public header alone, included twice, compiles without a warning in every language that it is for.

Arguments: include directory, C and C++ compilers as "c=cc" and "c++=g++".
"""
import subprocess
import sys

STANDARDS = {"c": ("c99", "c11", "c17"), "c++": ("c++11", "c++17")}
FLAGS = ("-pedantic-errors", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-fsyntax-only")
PROGRAM = '#include "rp_handoff.h"\n#include "rp_handoff.h"\nint use(void);\nint use(void) { return RP_HANDOFF_OK; }\n'


def compile_with(include, language, compiler, standard):
    command = [*compiler.split(), "-x", language, f"-std={standard}", *FLAGS, "-I", include, "-"]
    done = subprocess.run(command, input=PROGRAM, capture_output=True, text=True)
    if done.returncode != 0:
        print(" ".join(command), done.stderr, sep="\n")
    return done.returncode == 0


def main():
    include, *compilers = sys.argv[1:]
    results = [compile_with(include, language, compiler, standard)
               for language, compiler in (argument.split("=", 1) for argument in compilers)
               for standard in STANDARDS[language]]
    assert results
    print(f"{sum(results)} of {len(results)} compile")
    return 0 if all(results) else 1


sys.exit(main())
