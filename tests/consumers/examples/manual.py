"""The man page names every function of the headers, and no other."""
import re
import sys

*HEADERS, PAGE = sys.argv[1:]

code = ""
for header in HEADERS:
    with open(header, encoding="utf-8") as file:
        code += re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
declared = set(re.findall(r"RP_HANDOFF_API[^;{]*?\b(rp_handoff_\w+)\s*\(", code))
with open(PAGE, encoding="utf-8") as file:
    named = set(re.findall(r"Fn (rp_handoff_\w+)", file.read()))

for name in sorted(declared - named):
    print(f"not in the man page: {name}")
for name in sorted(named - declared):
    print(f"not in the headers: {name}")
sys.exit(0 if declared and declared == named else 1)
