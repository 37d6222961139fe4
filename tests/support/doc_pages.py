"""The fenced blocks of the documentation, and how a page is run.

- A block `sh` has commands; a block `console` has commands after `$ `, continued after
  `> `, and what they print, in which `...` stands for anything. A page is one session
  in a folder of its own, from top to bottom.
- A block with a title (```` ```toml title="nightly.toml" ````) is written to that file.
- `# exit code 1` after a command is the exit code that it must have.
- `<!-- not run: REASON -->` before a block leaves it out.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+) -->\n+)?"
    r"^(?P<indent> *)```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?[^\n]*\n"
    r"(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
_EXIT_CODE = re.compile(r"# exit code (\d+)")
# bash reports each command that failed: its status, its line and the block's number.
_SESSION = """\
set -o pipefail -o errtrace
report() {{
  local block=${{BASH_SOURCE[1]##*-}}
  if [[ -n $block ]]; then printf '%s %s %s\\n' "$1" "$2" "$block" >> {log}; fi
}}
trap 'report "$?" "$LINENO"' ERR
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block. `line` is that of its first line in the page."""

    line: int
    language: str
    title: str | None
    text: str
    not_run: str | None

    @property
    def commands(self) -> str:
        """The commands of the block as lines of a shell; empty for other languages."""
        if self.language == "sh":
            return self.text
        if self.language != "console":
            return ""
        prompts = ("$ ", "> ")
        return "".join(
            f"{line[2:]}\n"
            for line in self.text.splitlines()
            if line.startswith(prompts)
        )

    @property
    def output(self) -> list[str]:
        """The lines that the commands of a `console` block print."""
        lines = self.text.splitlines() if self.language == "console" else []
        return [line for line in lines if not line.startswith(("$ ", "> "))]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        indent = match["indent"]
        yield Block(
            line=text.count("\n", 0, match.start("text")) + 1,
            language=match["language"],
            title=match["title"],
            text=re.sub(rf"^{indent}", "", match["text"], flags=re.MULTILINE),
            not_run=match["reason"],
        )


def run_page(
    page: Path, folder: Path, *, names: Mapping[str, str], path: str, **variables: str
) -> list[str]:
    """Run the commands of a page in `folder/work`; a sentence for each mistake.

    `names` maps host names of the documentation to hosts that answer.
    """
    session = [_SESSION.format(log=shlex.quote(str(folder / "failed")))]
    run: list[Block] = []
    for place, block in enumerate(blocks(page)):
        if block.title is not None:
            content = folder / f"file-{place}"
            content.write_text(_with_names(block.text, names))
            target = shlex.quote(block.title)
            session.append(f"mkdir -p $(dirname {target}); cp {content} {target}\n")
        elif block.commands and block.not_run is None:
            script = folder / f"block-{len(run)}"
            # A continued command is one line, so that bash reports where it is.
            commands = re.sub(r"\\\n\s*", " ", _with_names(block.commands, names))
            script.write_text(commands)
            session.append(f"source {script} > {script}.out 2>&1 < /dev/null\n")
            run.append(block)
    (folder / "failed").touch()
    subprocess.run(
        ["bash", "--norc", "--noprofile", "-c", "".join(session)],
        cwd=folder / "work",
        env={"PATH": path, "HOME": str(folder / "work"), **variables},
        check=False,
        timeout=600,
    )
    failed: dict[int, dict[int, str]] = defaultdict(dict)
    for one in (folder / "failed").read_text().splitlines():
        status, line, index = one.split()
        failed[int(index)][int(line)] = status
    mistakes = []
    for number, block in enumerate(run):
        script = folder / f"block-{number}"
        printed = Path(f"{script}.out").read_text()
        for name, address in names.items():
            printed = printed.replace(address, name)
        wrong = [
            *_wrong_codes(script.read_text().splitlines(), failed[number]),
            *_wrong_output(block.output, printed),
        ]
        mistakes += [
            f"{page.name}:{block.line}: {one}\n{printed[-2000:]}" for one in wrong
        ]
    return mistakes


def _wrong_codes(commands: list[str], failed: Mapping[int, str]) -> Iterator[str]:
    """The commands of a block that did not end with the code that they must have."""
    for line, command in enumerate(commands, 1):
        found = _EXIT_CODE.search(command)
        status = failed.get(line, "0")
        if status != (found[1] if found else "0"):
            yield f"exit code {status}: {command}"


def _wrong_output(expected: list[str], printed: str) -> Iterator[str]:
    missing = first_missing(expected, printed)
    if missing is not None:
        yield f"not printed: {missing}"


def _with_names(text: str, names: Mapping[str, str]) -> str:
    for name, address in names.items():
        text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", address, text)
    return text


def first_missing(expected: list[str], printed: str) -> str | None:
    """The first expected line that was not printed after the ones before it.

    `...` in a line stands for any text; a line of `...` alone for any lines.
    """
    position, gap = 0, True
    lines = printed.splitlines()
    for line in expected:
        if line.strip() == "...":
            gap = True
            continue
        pattern = ".*".join(map(re.escape, re.split(r"\.\.\.", line.rstrip())))
        last = len(lines) if gap else min(position + 1, len(lines))
        for index in range(position, last):
            if re.fullmatch(pattern, lines[index].rstrip()):
                position, gap = index + 1, False
                break
        else:
            return line
    return None


def search_path(*folders: Path) -> str:
    """`PATH` with these folders before the system's."""
    return os.pathsep.join([*map(str, folders), os.defpath])
