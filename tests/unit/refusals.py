"""How these tests ask for an error: by its class, and by the value, the rule and the remedy in its text."""

from __future__ import annotations

import re

import pytest


def says(error: type[BaseException], *fragments: str) -> pytest.RaisesExc[BaseException]:
    """Expect *error*, with every fragment somewhere in its text."""
    ahead = "".join(f"(?=.*{re.escape(fragment)})" for fragment in fragments)
    return pytest.raises(error, match=rf"(?s)\A{ahead}")
