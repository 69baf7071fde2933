"""The configuration as ROS parameters: each leaf under its dotted name, typed, ranged and described."""

from __future__ import annotations

import difflib
import sys
import threading
from collections.abc import Sequence

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from r3d2_ros.config import Leaf, Scalar, SimConfig, leaves, load_config
from r3d2_ros.errors import InputError, InputErrors

LIVE = ("output.jpeg_quality", "sync.stall_report_s")
"""Leaves that take effect while the node is configured; the others are read by the configure transition."""

QOS = "qos_overrides."

OWN_PARAMETERS = ("config", "autostart")


class ConfigParameters:
    """Declares the leaves and keeps `config` equal to the parameters; refuses bad values with a reason.

    Parameters are set by other threads than the one that configures the node.

    others  names of further parameters of the node
    """

    def __init__(self, node: Node, *, others: Sequence[str] = ()) -> None:
        self._node = node
        self._others = others
        self._setting = threading.Lock()
        self._configured = False
        self._told: set[str] = set()
        text = ParameterDescriptor(description="configuration file (YAML); empty: the defaults", read_only=True)
        path = node.declare_parameter("config", "", text).value
        self._path = path or None
        self.config = load_config(self._path)
        declared = list(leaves(self.config))
        self._names = [leaf.name for leaf in declared]
        for leaf in declared:
            self._declare(leaf)
        self.config = self._build({})
        self._warn_of_unknown()
        node.add_on_set_parameters_callback(self._on_set)

    def hold(self) -> SimConfig:
        """What the node configures with; until `release` only the LIVE leaves can be set."""
        with self._setting:
            self._configured = True
            return self.config

    def release(self) -> None:
        """Every leaf can be set again."""
        self._configured = False

    def _declare(self, leaf: Leaf) -> None:
        try:
            self._node.declare_parameter(leaf.name, leaf.value, descriptor(leaf))
        except InvalidParameterTypeException as error:
            expected = f"a {leaf.type.__name__}" + (" (write 10.0, not 10)" if leaf.type is float else "")
            raise InputError(f"parameter {leaf.name}", expected, str(error)) from error
        except InvalidParameterValueException as error:
            raise InputError(f"parameter {leaf.name}", descriptor(leaf).additional_constraints, str(error)) from error

    def _build(self, changed: dict[str, Scalar]) -> SimConfig:
        values = {name: self._node.get_parameter(name).value for name in self._names}
        return load_config(self._path, {**values, **changed})

    def _on_set(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        changed = {p.name: p.value for p in parameters if p.name in self._names}
        if not changed:
            return SetParametersResult(successful=True)
        with self._setting:
            return self._set(changed)

    def _set(self, changed: dict[str, Scalar]) -> SetParametersResult:
        try:
            candidate = self._build(changed)
        except (InputError, InputErrors) as error:
            return SetParametersResult(successful=False, reason=str(error))
        fixed = [name for name in changed if name not in LIVE]
        if self._configured and fixed:
            reason = f"{', '.join(fixed)}: read when the node configures; deactivate and clean it up first"
            return SetParametersResult(successful=False, reason=reason)
        self.config = candidate
        return SetParametersResult(successful=True)

    def warn_of_unused_qos(self) -> None:
        """The same of a quality of service, once every topic is there: overrides are declared with their topics."""
        known = [name for name in list(self._node._parameters) if name.startswith(QOS)]
        for name in self._node._parameter_overrides:
            if name.startswith(QOS) and name not in known and name not in self._told:
                self._told.add(name)
                side = f"{name.rpartition('.')[0]}."
                policies = [other.removeprefix(side) for other in known if other.startswith(side)]
                fault = f"is none of {', '.join(policies)}" if policies else "is of no topic that this node has now"
                self._warn(name, [] if policies else known, fault)

    def _warn_of_unknown(self) -> None:
        """A mistyped override would otherwise be ignored without a word."""
        known = [*OWN_PARAMETERS, *self._others, "use_sim_time", *self._names]
        for name in self._node._parameter_overrides:
            if name not in known and not name.startswith((QOS, "start_type_description_service")):
                self._warn(name, known, "is not one of this node's")

    def _warn(self, name: str, known: Sequence[str], fault: str) -> None:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        self._node.get_logger().warning(f"parameter '{name}' {fault} and has no effect{hint}")


def descriptor(leaf: Leaf) -> ParameterDescriptor:
    """Type, range and description of a leaf. Open ends of a range are the type's largest value."""
    text = ParameterDescriptor(description=leaf.description)
    limits = [f"{word} {getattr(leaf, word)}" for word in ("ge", "gt", "le", "lt") if getattr(leaf, word) is not None]
    text.additional_constraints = ", ".join(limits) or (f"one of {', '.join(leaf.choices)}" if leaf.choices else "")
    low = leaf.ge if leaf.ge is not None else leaf.gt
    high = leaf.le if leaf.le is not None else leaf.lt
    if low is None and high is None:
        return text
    if leaf.type is int:
        low = -(2**63) if low is None else int(low)
        high = 2**63 - 1 if high is None else int(high)
        text.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
    elif leaf.type is float:
        low = -sys.float_info.max if low is None else float(low)
        high = sys.float_info.max if high is None else float(high)
        text.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
    return text
