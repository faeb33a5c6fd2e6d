"""How a page of the documentation is read, and when an output is the one that it shows."""

from __future__ import annotations

import pytest

from tests.docs.page import Block, blocks, matches

PAGE = """# A page

<!-- run: v1 -->
```console
$ cat > file <<'END'
> a line
> END
$ ls
file
```

```sh
not read
```

```python
print(1)
```

```text
1
```
"""


def test_blocks() -> None:
    """Those of other languages are passed over, a program's output belongs to it, and a comment says where."""
    shell, program = blocks(PAGE)

    assert (shell.line, shell.language, shell.where) == (4, "console", "v1")
    assert program == Block(line=16, language="python", text="print(1)\n", output="1")


def test_steps() -> None:
    """Each command has its own output, and may have several lines."""
    shell, program = blocks(PAGE)

    assert list(shell.steps()) == [("cat > file <<'END'\na line\nEND", ""), ("ls", "file")]
    assert list(program.steps()) == [("print(1)\n", "1")]


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        ("", "", True),
        ("", "a warning", False),
        ("a", "", False),
        ("pid 1 of …", "pid   1 of 12\n", True),
        ("pid 1 of …", "pid 2 of 12", False),
        ("a…", "a\nb", False),
        ("a\n…", "a\nb\nc", True),
        ("a\n…", "a", True),
        ("…\nc", "a\nb\nd", False),
        ("a.c", "abc", False),
    ],
)
def test_matches(expected: str, got: str, *, same: bool) -> None:
    """``…`` stands for any text within a line, and for any lines; all else has to be there."""
    assert matches(expected, got) == same


def test_what_is_taken_for_granted() -> None:
    """Hidden commands are run in their place, and hidden lines begin each program behind them."""
    page = "<!-- given, console:\n$ touch job\n-->\n\n<!-- given, python:\nimport os\n-->\n\n" + PAGE
    hidden, _, program = blocks(page)

    assert list(hidden.steps()) == [("touch job", "")]
    assert list(program.steps()) == [("import os\nprint(1)\n", "1")]


@pytest.mark.parametrize(
    ("page", "in_memory"),
    [
        ("```python\nfrom cgctl.testing import FakeSystem\n```\n", True),
        ("```python\nimport cgctl\n```\n", False),
        ("```console\n$ CGCTL_FAKE=v2 cgctl tree\n```\n", True),
        ("```console\n$ CGCTL_FAKE=v2 cgctl tree\n$ cgctl tree\n```\n", False),
    ],
)
def test_is_in_memory(page: str, *, in_memory: bool) -> None:
    """A program that makes its own machine, or commands that all name one, can be run anywhere."""
    assert blocks(page)[0].is_in_memory == in_memory
