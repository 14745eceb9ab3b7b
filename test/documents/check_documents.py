#!/usr/bin/python3
"""Checks the project's documents: check_documents.py links|readme|snippets|quickstart|protocol|names ROOT"""

import json
import pathlib
import re
import sys
import textwrap

LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")


def documents(root):
    """All Markdown files but those of build trees and hidden folders."""
    for path in sorted(root.rglob("*.md")):
        folders = path.relative_to(root).parts[:-1]
        if not any(folder == "build" or folder.startswith(".") for folder in folders):
            yield path


def prose(text):
    """The text without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path):
    """The names that the headings of a document have as link targets."""
    headings = re.findall(r"^#+ +(.+)$", prose(path.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def check_links(root):
    """Each link that is not to the web is relative, and leads to a file, and to a heading where it names one."""
    count = 0
    for document in documents(root):
        for target in LINK.findall(prose(document.read_text())):
            if "://" in target:
                continue
            count += 1
            where = f"{document.relative_to(root)}: the link {target}"
            if target.startswith("/"):
                yield f"{where} is not relative"
                continue
            file, _, anchor = target.partition("#")
            path = (document.parent / file).resolve() if file else document
            if not path.exists():
                yield f"{where} leads nowhere"
            elif root.resolve() not in path.parents and path != root.resolve():
                yield f"{where} leads out of the project"
            elif anchor and anchor not in anchors(path):
                yield f"{where} names no heading of that document"
    if count < 20:
        yield f"only {count} links were found: this check looks in the wrong place"


def check_readme(root):
    """The first program of README.md is the marked region of examples/readme.cpp."""
    shown = re.search(r"^```cpp\n(.*?)^```", (root / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    compiled = (root / "examples/readme.cpp").read_text().split("// [readme]\n")
    if not shown or len(compiled) != 3:
        yield "README.md shows no program, or examples/readme.cpp has no region between two lines // [readme]"
    elif shown.group(1) != compiled[1]:
        yield "the program of README.md is not that of examples/readme.cpp: copy the region between // [readme]"


def region(text, name):
    """What stands between two lines // [name] of a source, without its indentation; None where it has no such region."""
    parts = re.split(rf"^ *// \[{name}\]\n", text, flags=re.MULTILINE)
    return textwrap.dedent(parts[1]) if len(parts) == 3 else None


def check_snippets(root):
    """A piece of code below a line such as <!-- examples/tutorial.cpp: ask --> is that region of that file, and one below
    <!-- file --> is the whole of it. All C++ of the tutorial has such a line."""
    count = 0
    for document in documents(root):
        text = document.read_text()
        for file, name, shown in re.findall(r"^<!-- ([^\s:]+)(?:: (\w+))? -->\n```\w+\n(.*?)^```", text, re.M | re.S):
            count += 1
            where = f"{document.relative_to(root)}: the code of {file}{name and ': ' + name}"
            source = root / file
            compiled = source.read_text() if source.is_file() else None
            if compiled is not None and name:
                compiled = region(compiled, name)
            if compiled is None:
                yield f"{where} is not there"
            elif shown != compiled:
                yield f"{where} is not what the page shows"
    if unmarked := re.findall(r"(?<! -->)\n```cpp\n(.*)", (root / "docs/tutorial.md").read_text()):
        yield f"docs/tutorial.md has code that no program is named for: {unmarked[0]}"
    if count < 8:
        yield f"only {count} pieces of code were found: this check looks in the wrong place"


def check_quickstart(root):
    """scripts/quickstart runs programs that its build preset builds, with flags that the command has."""
    script = (root / "scripts/quickstart").read_text().replace("\\\n", " ")
    presets = json.loads((root / "CMakePresets.json").read_text())["buildPresets"]
    targets = next(preset["targets"] for preset in presets if preset["name"] == "quickstart")
    calls = re.findall(r"build/release/bin/(\w+) +([^;\n]*)", script)
    if {program for program, _ in calls} != {"mnist", "ganglion"}:
        yield f"scripts/quickstart runs {calls}, but the main job is mnist and ganglion"
    known = "".join(source.read_text() for source in sorted((root / "tools").glob("*.cpp")))
    for program, arguments in calls:
        if {"ganglion": "ganglion_command"}.get(program, program) not in targets:
            yield f"scripts/quickstart runs {program}, which its build preset does not build"
        for flag in re.findall(r"(?<=\s)--[\w-]+", " " + arguments):
            if f'"{flag}' not in known and f",{flag}" not in known:
                yield f"scripts/quickstart gives {program} {flag}, which no verb has"


def check_protocol(root):
    """docs/protocol.md names each message, handle and role of actors/protocol."""
    text = (root / "docs/protocol.md").read_text()
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", text)) + " ".join(re.findall(r"^#.*", text, re.M))))
    folder = root / "actors/include/ganglion/actors/protocol"
    pattern = r"^struct (\w+)|^using (\w+_(?:actor|role)) ="
    declared = {
        (header.name, struct or handle)
        for header in sorted(folder.glob("*.hpp"))
        for struct, handle in re.findall(pattern, header.read_text(), re.M)
    }
    if len(declared) < 30:
        yield f"only {len(declared)} messages and handles were found in {folder}: this check looks in the wrong place"
    for header, name in sorted(declared):
        if name not in named:
            yield f"docs/protocol.md does not name {name} of {header}"


def check_names(root):
    """Whatever of ganglion:: the pieces of C++ in the documents name is in a public header."""
    headers = " ".join(path.read_text() for path in root.glob("*/include/ganglion/**/*.hpp"))
    declared = set(re.findall(r"\w+", re.sub(r"//.*", "", headers)))
    count = 0
    for document in documents(root):
        for block in re.findall(r"^```cpp\n(.*?)^```", document.read_text(), flags=re.MULTILINE | re.DOTALL):
            for name in re.findall(r"\bganglion::(\w+(?:::\w+)*)", block):
                count += 1
                if missing := set(name.split("::")) - declared:
                    yield f"{document.relative_to(root)}: ganglion::{name}: no public header has {missing.pop()}"
            for header in re.findall(r"#include <(ganglion/\S+)>", block):
                count += 1
                if not list(root.glob(f"*/include/{header}")):
                    yield f"{document.relative_to(root)}: there is no header {header}"
    if count < 20:
        yield f"only {count} names were found: this check looks in the wrong place"


def main():
    checks = {"links": check_links, "readme": check_readme, "snippets": check_snippets, "quickstart": check_quickstart,
              "protocol": check_protocol, "names": check_names}
    if len(sys.argv) != 3 or sys.argv[1] not in checks:
        sys.exit(__doc__)
    problems = list(checks[sys.argv[1]](pathlib.Path(sys.argv[2])))
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
