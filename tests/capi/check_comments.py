"""Fails unless everything that the public headers declare says what it is:

- every declaration has a comment directly above it; constants and members may have theirs beside them instead;
- every member of a struct has a comment beside it, or stands in a group that begins with one: members without an empty line or
  another comment between them. struct_size needs none, nor does the length that follows what it is the length of;
- every function has a comment of its own, which tells how it can fail: "Errors:" with names, or "Never fails".

Banners that part the header do not count, and the name of a handle needs no words beyond those above it.

Argument: header.
"""
import re
import sys

from header import read

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
DEFINE = re.compile(r"#define (RP_HANDOFF_(?!H\b|V1_H\b|API\b)\w+)")
STRUCT = re.compile(r"typedef struct (\w+) \{(.*)\} \1;", re.S)
MEMBER = re.compile(r"(?P<comment>/\*.*?\*/)|(?P<gap>\n[ \t]*\n)|(?P<member>[^;/]+;)(?P<beside>[ \t]*(?:\n[ \t]*)?/\*.*?\*/)?",
                    re.S)
FAILURE = re.compile(r"Errors?(?: of |, |:)|Never(?:\s|\*)+fails|can fail")


def declarations(text):
    """Of each its text, the comment above it, and whether something else stands between."""
    above, used = "", False
    for match in TOKEN.finditer(text):
        kind, value = match.lastgroup, match.group()
        if kind == "comment":
            above, used = value, False
        elif kind in ("gap", "banner", "brace"):
            above = ""
        elif kind == "declaration" or (kind == "directive" and DEFINE.match(value)):
            yield value, above, used
            used = True
        elif kind == "other":
            raise ValueError(f"not understood: {text[match.start():match.start() + 60]!r}")


def names_in(declaration):
    code = re.sub(r"/\*.*?\*/", " ", declaration, flags=re.S)
    if code.startswith("#"):
        return [DEFINE.match(code).group(1)]
    if code.startswith("enum"):
        return re.findall(r"\b(RP_HANDOFF_\w+)\s*(?:=|,|\})", code)
    return [re.search(r"(rp_handoff_\w+)(?=\(|\)\(|;| \{)", code).group(1)]


def members_without_words(name, body):
    in_group, before = False, ""
    for match in MEMBER.finditer(body):
        if match.lastgroup == "comment":
            in_group = True
        elif match.lastgroup == "gap":
            in_group = False
        elif match.group("member"):
            member = re.search(r"(\w+)(?:\[\w+\])?;$", match.group("member")).group(1)
            if not (match.group("beside") or in_group or member in ("struct_size", before + "_length")):
                yield f"{name}: {member}"
            before = member


def problems_of(declaration, above, used):
    is_function = declaration.startswith("RP_HANDOFF_API")
    name = names_in(declaration)[0]
    if is_function:
        if not above or used:
            yield f"{name}: no comment of its own"
        elif not FAILURE.search(above):
            yield f"{name}: does not tell how it can fail"
        return
    if name.endswith("_INIT") or (above and not declaration.startswith("typedef struct")):
        return
    struct = STRUCT.fullmatch(declaration)
    if struct:
        yield from members_without_words(*struct.groups())
    if not above and (struct or "/*" not in declaration):
        yield from (f"{each}: no comment" for each in names_in(declaration))


def main():
    found = list(declarations(read(sys.argv[1])))
    assert len(found) > 150, "the header was not understood"
    problems = [problem for each in found for problem in problems_of(*each)]
    print("\n".join(problems) or f"{len(found)} declarations")
    return 1 if problems else 0


sys.exit(main())
