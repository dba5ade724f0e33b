"""The mutants: what universalmutator makes of the wings' sources, a sample of it, and the survivors with a name."""
import contextlib
import dataclasses
import glob
import io
import os
import random

RULES = ["universal.rules", "c_like.rules", "cpp.rules"]
# Lines that cannot be wrong in a way that a test could see: they would not compile, or say nothing at run time.
LEFT_ALONE = [r"^\s*#", r"^\s*template", r"static_assert", r"^\s*(inline )?namespace", r"^\s*using ",
              r"^\s*(public|private):", r"^\s*friend ", r"^\s*[{}();]*\s*$"]


@dataclasses.dataclass(frozen=True)
class Mutant:
    file: str  # from the root
    line: int
    before: str
    after: str

    def __str__(self):
        return f"{self.file}:{self.line}\n    - {self.before.strip()}\n    + {self.after.strip()}"

    def key(self):
        """Lines move, so a survivor is known by what they say."""
        return self.file, " ".join(self.before.split()), " ".join(self.after.split())

    def applied_to(self, text):
        lines = text.splitlines(keepends=True)
        assert lines[self.line - 1] == self.before, self
        lines[self.line - 1] = self.after
        return "".join(lines)


def of_file(root, file):
    from universalmutator.mutator import mutants_regexp  # of the environment that run makes
    with open(os.path.join(root, file), encoding="utf-8") as source:
        lines = source.readlines()
    with contextlib.redirect_stdout(io.StringIO()):
        found = mutants_regexp(lines, ruleFiles=RULES, ignorePatterns=LEFT_ALONE, ignoreStringOnly=True)
    return [Mutant(file, line, lines[line - 1], after) for line, after, *_ in found]


def files_of(root, wings, headers):
    suffixes = ("cpp", "hpp") if headers else ("cpp",)
    found = [path for wing in wings for suffix in suffixes for path in glob.glob(f"{root}/lib/{wing}/*.{suffix}")]
    return sorted(os.path.relpath(path, root) for path in found)


def drawn(root, files, seed):
    """All of them, in an order that the seed decides. Each line is as likely as any other, however much can be done to
    it."""
    order = random.Random(seed)
    by_line = {}
    for file in files:
        for mutant in of_file(root, file):
            by_line.setdefault((file, mutant.line), []).append(mutant)
    for mutants in by_line.values():
        order.shuffle(mutants)
    while by_line:
        lines = sorted(by_line)
        order.shuffle(lines)
        for line in lines:
            yield by_line[line].pop()
            if not by_line[line]:
                del by_line[line]


def named_survivors(path):
    """{key: reason}, of a file of blocks: the file, a line "- before", a line "+ after", the reason."""
    with open(path, encoding="utf-8") as file:
        blocks = file.read().split("\n\n")
    named = {}
    for block in blocks:
        lines = [line for line in block.splitlines() if line.strip() and not line.startswith("#")]
        if lines:
            file, before, after, *reason = lines
            assert before.startswith("- ") and after.startswith("+ ") and reason, block
            named[file, " ".join(before[2:].split()), " ".join(after[2:].split())] = " ".join(reason)
    return named
