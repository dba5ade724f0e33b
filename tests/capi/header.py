"""What the public headers declare, read without a compiler: they keep to a plain style that this can rely on."""
import os
import re

COMMENT = re.compile(r"/\*.*?\*/", re.S)
FUNCTION = re.compile(r"RP_HANDOFF_API\s+([\w\s*]+?)\b(rp_handoff_\w+)\(([^)]*)\);")
STRUCT = re.compile(r"typedef struct (rp_handoff_\w+) \{(.*?)\} \1;", re.S)
ENUM = re.compile(r"\benum \{(.*?)\};", re.S)
DEFINE = re.compile(r"^#define (RP_HANDOFF_[A-Z0-9_]+) (.+)$", re.M)
HANDLE = re.compile(r"typedef struct (rp_handoff_\w+) \1;")


INCLUDE = re.compile(r'^#include "(rp_handoff_\w+\.h)"\n', re.M)
INITIALISER = re.compile(r"#define (RP_HANDOFF_\w+_INIT)\b(?:[^\n\\]|\\\n|\\)*")


def read(path):
    """The header's text, with that of the others where it includes them."""
    def text_of(name):
        with open(os.path.join(os.path.dirname(path), name), encoding="utf-8") as file:
            return file.read()
    return INCLUDE.sub(lambda match: text_of(match.group(1)), text_of(os.path.basename(path)))


class Header:
    def __init__(self, path):
        self.text = read(path)
        self.code = COMMENT.sub(" ", self.text)

    def functions(self):
        """Name to list of parameters, as text."""
        return {name: [" ".join(p.split()) for p in parameters.split(",")]
                for _, name, parameters in FUNCTION.findall(self.code)}

    def handles(self):
        return set(HANDLE.findall(self.code))

    def structs(self):
        """Name to list of member names."""
        return {name: [member_name(m) for m in body.split(";") if m.strip()]
                for name, body in STRUCT.findall(self.code)}

    def constants(self):
        """Names, of enumerators and of macros that are values."""
        names = [item.split("=")[0].strip() for body in ENUM.findall(self.code) for item in body.split(",")]
        names += [name for name, value in DEFINE.findall(self.code)
                  if not value.startswith("__attribute__") and not name.endswith("_INIT")]
        return [name for name in names if name]

    def initialisers(self):
        """Name of the macro to the struct that it is for."""
        return {match.group(1): re.search(r"sizeof\((rp_handoff_\w+)\)", match.group()).group(1)
                for match in INITIALISER.finditer(self.code)}


def member_name(declaration):
    return re.search(r"(\w+)\s*(?:\[\w+\])?\s*$", declaration).group(1)
