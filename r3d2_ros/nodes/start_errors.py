"""What keeps a process from beginning, told in a line."""

from __future__ import annotations

import sys

from rclpy.exceptions import ParameterException

from r3d2_ros.errors import InputError, InputErrors, MissingPackageError

USER_ERRORS = (InputError, InputErrors, MissingPackageError)

START_ERRORS = (*USER_ERRORS, ParameterException, RuntimeError)
"""With what rclpy raises for parameters, arguments, names, domains and log folders that cannot be used."""


def tell(error: Exception, *, program: str) -> None:
    """One of START_ERRORS, on stderr; rclpy's do not say what they are of."""
    what = "" if isinstance(error, USER_ERRORS) else f"{type(error).__name__}: "
    print(f"{program}: {what}{error}", file=sys.stderr)
