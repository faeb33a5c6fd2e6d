"""What the runner must know of the project: its tree, its dependencies, its entry points."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from tests.vm import catalog

TREE = Path(__file__).parents[2]
# Where the tree, and the packages it needs, are in the machine.
WORK = "/work"
SITE = f"usr/local/lib/python{catalog.IMAGE_PYTHON}/dist-packages"


def project() -> dict[str, Any]:
    """Read the project's pyproject.toml."""
    return tomllib.loads((TREE / "pyproject.toml").read_text())


def requirements() -> list[str]:
    """List what the project needs to run and to be tested, with all its extras."""
    table = project()
    name = table["project"]["name"]
    wanted = {*table["project"]["dependencies"], *_group(table["dependency-groups"], "tests")}
    for extra in table["project"].get("optional-dependencies", {}).values():
        wanted |= {need for need in extra if not need.startswith(f"{name}[")}
    return sorted(wanted)


def _group(groups: dict[str, list[Any]], name: str) -> list[str]:
    """List a dependency group, with those that it includes (PEP 735)."""
    needs: list[str] = []
    for need in groups[name]:
        needs += [need] if isinstance(need, str) else _group(groups, need["include-group"])
    return needs


def dist_info() -> dict[str, str]:
    """Make the metadata that an installed cgctl has, for its entry points are found there; name → text."""
    table = project()["project"]
    version = re.search(r'^__version__ = "(.+)"', _text(TREE / "src/cgctl/__init__.py"), re.MULTILINE)
    number = version[1] if version else "0"
    points = dict(table.get("entry-points", {}))
    points["console_scripts"] = table.get("scripts", {})
    lines = [f"[{group}]\n" + "".join(f"{name} = {at}\n" for name, at in one.items()) for group, one in points.items()]
    home = f"/{SITE}/{table['name']}-{number}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {table['name']}\nVersion: {number}\n"
    return {f"{home}/METADATA": metadata, f"{home}/entry_points.txt": "\n".join(lines)}


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
