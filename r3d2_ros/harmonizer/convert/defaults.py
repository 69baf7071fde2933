"""What diffusers takes for what a configuration leaves out."""

from __future__ import annotations

import inspect
from typing import Any


def constructor_defaults(known: type) -> dict[str, Any]:
    """Of each setting of a class that has one."""
    parameters = inspect.signature(known).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}
