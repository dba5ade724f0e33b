"""Fails unless every declaration of the header has a comment above it, or stands in a group that has one: declarations
without an empty line between them. Constants and members may have theirs beside them instead. Banners that part the
header do not count, and the name of a handle needs no words beyond those of its calls.

Argument: header.
"""
import re
import sys

TOKEN = re.compile(r"""
    (?P<banner>/\*\ -{4,}.*?-{4}\ \*/)
  | (?P<comment>/\*.*?\*/)
  | (?P<directive>^\#(?:[^\n\\]|\\\n)*)
  | (?P<gap>\n[ \t]*\n)
  | (?P<space>\s+)
  | (?P<brace>extern\ "C"\ \{|^\})
  | (?P<declaration>(?:typedef|enum|RP_HANDOFF_API)\b(?:[^;{]|\{[^}]*\})*;)
  | (?P<other>.)
""", re.X | re.S | re.M)
HANDLE = re.compile(r"typedef struct (\w+) \1;")
DEFINE = re.compile(r"#define (RP_HANDOFF_(?!H\b|API\b)\w+)")


def declarations(text):
    """Pairs of what is declared and whether a comment belongs to it."""
    documented = False
    for match in TOKEN.finditer(text):
        kind, value = match.lastgroup, match.group()
        if kind == "comment":
            documented = True
        elif kind in ("gap", "banner", "brace"):
            documented = False
        elif kind == "declaration" or (kind == "directive" and DEFINE.match(value)):
            inside = kind == "declaration" and not value.startswith("RP_HANDOFF_API") and "/*" in value
            yield value, documented or inside or HANDLE.fullmatch(value) is not None
        elif kind == "other":
            raise ValueError(f"not understood: {text[match.start():match.start() + 60]!r}")


def names_in(declaration):
    code = re.sub(r"/\*.*?\*/", " ", declaration, flags=re.S)
    if code.startswith("#"):
        return [DEFINE.match(code).group(1)]
    if code.startswith("enum"):
        return re.findall(r"\b(RP_HANDOFF_\w+)\s*(?:=|,|\})", code)
    return [re.search(r"(rp_handoff_\w+)(?=\(|\)\(|;| \{)", code).group(1)]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        found = list(declarations(file.read()))
    assert len(found) > 60, "the header was not understood"
    missing = [name for declaration, documented in found if not documented for name in names_in(declaration)]
    print("\n".join(f"{name}: no comment" for name in missing) or f"{len(found)} declarations")
    return 1 if missing else 0


sys.exit(main())
