"""What a configuration and a broken variant of a model are, and how one is searched.

A model is a directory with a configurations.py: MODEL is the file that spin is given, with which OPTIONS; MARKED those
files in which it is said what can occur; DEFAULTS has all its numbers; CONFIGURATIONS and VARIANTS what is searched;
AUDITED whether its process Audit has to come to its end.
"""
import dataclasses
import importlib.util
import os
import re
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
# Without partial order reduction, which is not sound where a process can be stopped from outside. More than -O1 takes
# longer to compile and does not search faster.
COMPILE = ("gcc", "-O1", "-w", "-DNOREDUCE", "-DMEMLIM=3000", "-o", "pan", "pan.c")
DEPTH = 100_000
TIMEOUT_S = 500


@dataclasses.dataclass
class Configuration:
    name: str
    occurs: set
    options: dict

    def __str__(self):
        return self.name


@dataclasses.dataclass
class Variant:
    switch: str
    configuration: str
    breaks: str  # the one property that is checked

    def __str__(self):
        return f"broken: {self.switch}, {self.configuration}"


class Model:
    def __init__(self, name):
        self.directory = os.path.join(HERE, name)
        path = os.path.join(self.directory, "configurations.py")
        spec = importlib.util.spec_from_file_location(name, path)
        self.has = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.has)

    def markers(self):
        """All that can occur."""
        found = set()
        for name in self.has.MARKED:
            with open(os.path.join(self.directory, name), encoding="utf-8") as file:
                found |= set(re.findall(r'occurs\("(.*)\\n"\)', file.read()))
        return found

    def search(self, configuration, *defines, compile_with=()):
        """What pan, the program that spin makes of the model, says."""
        options = self.has.DEFAULTS | configuration.options
        assert options.keys() == self.has.DEFAULTS.keys()
        parameters = [f"-D{name}={value}" for name, value in options.items()]
        steps = [("spin", *self.has.OPTIONS, *parameters, *defines, "-a", os.path.join(self.directory, self.has.MODEL))]
        if options.get("FAIRNESS"):
            steps += [(*COMPILE, *compile_with), ("./pan", f"-m{DEPTH}", "-a", "-f")]
        else:
            steps += [(*COMPILE, *compile_with, "-DSAFETY"), ("./pan", f"-m{DEPTH}", "-E")]
        with tempfile.TemporaryDirectory() as directory:
            for step in steps:
                done = subprocess.run(step, cwd=directory, capture_output=True, text=True, timeout=TIMEOUT_S)
                output = done.stdout + done.stderr
                if done.returncode != 0:
                    raise RuntimeError(f"{' '.join(step)}\n{output}")
            return output

    def check_configuration(self, configuration):
        output = self.search(configuration, "-DONLY=0")
        states = re.search(r"^ *(\S+) states, stored", output, re.M)
        problems = problems_of_search(configuration, output)
        if configuration.occurs is not None:
            problems += self.problems_of_course(configuration, output)
        return problems, f"{int(float(states.group(1)))} states" if states else "no states"

    def problems_of_course(self, configuration, output):
        problems = []
        if self.has.AUDITED and not re.search(r"^unreached in proctype Audit\n\t\(0 of \d+ states\)", output, re.M):
            problems.append("the audit was not reached")
        occurred = self.markers() - set(re.findall(r"printf\('(.*)\\n'\)", output))
        problems += [f"did not occur: {name}" for name in sorted(configuration.occurs - occurred)]
        problems += [f"should not occur: {name}" for name in sorted(occurred - configuration.occurs)]
        return problems

    def check_variant(self, variant):
        """Compiled in a hurry, for an error is soon found."""
        configuration = next(one for one in self.has.CONFIGURATIONS if one.name == variant.configuration)
        output = self.search(configuration, f"-DBROKEN_{variant.switch}", f"-DONLY={variant.breaks}",
                             compile_with=["-O0"])
        error = "acceptance cycle" if configuration.options.get("FAIRNESS") else "assertion violated .*"
        caught = re.search(rf"^pan:1: {error} \(at depth \d+\)$", output, re.M)
        caught = caught and re.search("errors: 1$", output, re.M)
        return [] if caught else [f"not caught:\n{output}"], f"breaks {variant.breaks}"


INCOMPLETE = re.compile(r"search not completed|too small|truncated|out of memory|memlim|vectorsz|aborting"
                        r"|bit statespace|hash.compact|interrupted|warning", re.I)


def problems_of_search(configuration, output):
    problems = [f"said {text!r}" for text in INCOMPLETE.findall(output)]
    if "Full statespace search for:" not in output:
        problems.append("not a search of the full state space")
    if not re.search(r"assertion violations\s+\+", output):
        problems.append("assertions were not checked")
    if not re.search(r"^State-vector .* errors: 0$", output, re.M):
        problems.append("errors: " + " ".join(re.findall(r"^pan:\d+: .*", output, re.M)))
    if configuration.occurs is None and not re.search(r"acceptance\s+cycles\s+\+ \(fairness enabled\)", output):
        problems.append("cycles were not looked for under fairness")
    return problems
