r"""A page of the documentation: its blocks of code, in their order, and what is said of them.

A comment right before a block says where it runs, and a reader does not see it::

    <!-- run: v1 -->                      where v1 has the controller memory; also ``v2``
    <!-- run: no: it takes docker -->     nowhere, for that reason

And what a page takes for granted is typed before its first block, in such comments::

    <!-- given, console:
    $ printf '#!/bin/sh\n' > job; chmod +x job
    -->
    <!-- given, python:
    import cgctl
    -->

The commands are run where they stand; the lines of Python are before each program from there on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

_BLOCK = re.compile(
    r"^(?:<!-- run: (?P<where>.+?) -->\n)?^(?P<fence>`{3,})(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=fence)$"
    r"|^<!-- given, (?P<given>console|python):\n(?P<hidden>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)


@attrs.frozen(kw_only=True)
class Block:
    """Something that a reader could type.

    Attributes:
        line: where it begins in the page.
        language: ``console``: commands behind ``$``, each with its output; ``python``: a whole program.
        text: what is in it.
        where: where it runs: ``""`` (everywhere), ``"v1"``, ``"v2"`` or ``"no: …"``.
        output: what a program prints: the ``text`` block right behind it; ``None`` if there is none.
        given: lines of Python that the page takes for granted, before a program.
    """

    line: int
    language: str
    text: str
    where: str = ""
    output: str | None = None
    given: str = ""

    @property
    def is_in_memory(self) -> bool:
        """Whether all of it happens on a machine in memory, and so may be run anywhere."""
        if self.language == "python":
            return "FakeSystem" in self.text
        return all("CGCTL_FAKE=" in typed for typed, _ in self.steps())

    def steps(self) -> Iterator[tuple[str, str]]:
        """Give what is typed, and the output that the page shows: a program, or command after command."""
        if self.language == "python":
            yield self.given + self.text, self.output or ""
            return
        for typed, printed in re.findall(r"^\$ (.*\n(?:> .*\n)*)((?:(?!\$ ).*\n)*)", self.text, re.MULTILINE):
            yield re.sub(r"^> ", "", typed, flags=re.MULTILINE).rstrip("\n"), printed.rstrip("\n")


def blocks(text: str) -> list[Block]:
    """Read a page's blocks of ``console`` and ``python``."""
    found: list[Block] = []
    end, given = 0, ""
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("hidden" if match["given"] else "fence")) + 1
        language = (match["language"] or "").strip()
        if match["given"] == "python":
            given += match["hidden"]
        elif match["given"]:
            found.append(Block(line=line, language="console", text=match["hidden"]))
        elif language == "text" and found and found[-1].language == "python" and not text[end : match.start()].strip():
            found[-1] = attrs.evolve(found[-1], output=match["text"].rstrip("\n"))
        elif language in {"console", "python"}:
            before = given if language == "python" else ""
            where = match["where"] or ""
            found.append(Block(line=line, language=language, text=match["text"], where=where, given=before))
        end = match.end()
    return found


def read(path: Path) -> list[Block]:
    """Read the blocks of a page in a file."""
    return blocks(path.read_text(encoding="utf-8"))


def matches(expected: str, got: str) -> bool:
    """Tell whether an output is the one that a page shows, in which ``…`` stands for what varies.

    Within a line it is any text, and alone on a line any number of lines. How wide columns are does not count.
    """
    lines = [" ".join(line.split()) for line in got.splitlines()]
    pattern = "".join(r"(?:[^\n]*\n)*" if line.strip() == "…" else _line(line) for line in expected.splitlines())
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def _line(line: str) -> str:
    return r"[^\n]*?".join(re.escape(part) for part in " ".join(line.split()).split("…")) + r"\n"
