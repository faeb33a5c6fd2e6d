"""How the documentation is built: ``tox run -e docs``."""

from __future__ import annotations

import sys
from pathlib import Path

import cgctl

sys.path.insert(0, str(Path(__file__).parent))

project = "cgctl"
author = "the cgctl authors"
project_copyright = "2026, the cgctl authors"
version = release = cgctl.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "rows"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_generated"]
nitpicky = True
# Python's own documentation is on the network, and a build must not need one.
nitpick_ignore_regex = [
    ("py:.*", r"(subprocess|psutil|collections\.abc)(\..*)?"),
    ("py:exc", r"OSError|ValueError"),
    # What the reader of a signature sees under a shorter name, or need not see.
    ("py:class", r"cgctl\.(units\.Max|plan\.Plan|filesystem\._protocol\.Filesystem|controllers\._row\.\w+)"),
    ("py:class", r"cgctl\.testing\.case\.Action|Program"),
]
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"cgctl {release}"
