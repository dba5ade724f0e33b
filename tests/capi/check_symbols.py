"""Fails unless the library exports exactly what the header declares and the symbol map lists.

Arguments: header, symbol map, test of handles, nm, library (none for a static one, which has no exports).
"""
import re
import subprocess
import sys

from header import Header


def in_map(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    exported, local = re.fullmatch(r"RP_HANDOFF_0 \{\s*global:(.*?)local:(.*?)\};\s*", text, re.S).groups()
    assert local.split() == ["*;"], local
    names = [name.strip() for name in exported.split(";") if name.strip()]
    assert names == sorted(names), "the symbol map is not in order"
    return names


def exported_by(nm, library):
    lines = subprocess.run([nm, "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    symbols = [line.split()[1:] for line in lines.splitlines()]
    assert ["A", "RP_HANDOFF_0"] in symbols, "the version node is missing"
    symbols.remove(["A", "RP_HANDOFF_0"])
    for kind, name in symbols:
        assert kind == "T" and name.endswith("@@RP_HANDOFF_0"), f"{name} is not a function of version RP_HANDOFF_0"
    return [name.split("@@")[0] for _, name in symbols]


def without_test_of_handles(header, path):
    """Functions on a handle that the table in that test does not have."""
    with open(path, encoding="utf-8") as file:
        tested = set(re.findall(r'"(rp_handoff_\w+)"', file.read()))
    handles = "|".join(header.handles())
    on_handles = {name for name, parameters in header.functions().items()
                  if re.fullmatch(rf"(const )?({handles}) \*\w+", parameters[0]) and not name.endswith("_destroy")}
    return sorted(on_handles - tested)


def main():
    header_path, map_path, handles_test, nm, *library = sys.argv[1:]
    header = Header(header_path)
    declared = set(header.functions())
    assert len(declared) > 40, "the header was not understood"
    failed = False

    def compare(other, where):
        nonlocal failed
        for name in sorted(declared ^ set(other)):
            print(f"{name}: " + (f"missing in {where}" if name in declared else f"in {where}, not in the header"))
            failed = True

    compare(in_map(map_path), "the symbol map")
    if library:
        compare(exported_by(nm, library[0]), "the library")
    for name in without_test_of_handles(header, handles_test):
        print(f"{name}: not in the table of {handles_test}")
        failed = True
    print(f"{len(declared)} functions")
    return 1 if failed else 0


sys.exit(main())
