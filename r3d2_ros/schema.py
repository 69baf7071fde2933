"""YAML in, frozen dataclasses out: every fault of a file in one pass, each with file, key, expected and got.

Dataclasses stay plain; field types may be `Annotated[float, Field(ge=0, description="...")]` (pydantic).
A dataclass that goes through `validate` sets `__pydantic_config__ = STRICT` to refuse unknown keys. Where its
`__post_init__`, or the validator of a field, raises InputError, that is the fault; its `where` is the whole dotted key.
"""

from __future__ import annotations

import difflib
import re
import reprlib
import typing
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from r3d2_ros.errors import InputError, InputErrors, collecting
from r3d2_ros.foreign_files import foreign_file
from r3d2_ros.input_files import read_input

STRICT = ConfigDict(extra="forbid", strict=False, allow_inf_nan=False, arbitrary_types_allowed=True)

MAX_YAML_BYTES = 16 * 2**20
"""A capture trajectory of some hours at 10 Hz; what is larger belongs into a CSV file."""
MAX_YAML_VALUES = 1_000_000
MAX_YAML_LEVELS = 100
NOT_DEEPER = f"values nested at most {MAX_YAML_LEVELS} levels deep"
MAX_NUMBER_CHARS = 1000
LAST_MARK = re.compile(r"\n---\s*\Z")
"""`ros2 topic echo` puts it after each message."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

T = TypeVar("T")


def refuse_bool(value: Any) -> Any:
    """For BeforeValidator: `yes` and `true` are no numbers, which Python takes them for."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", "a number")
    return value


Number = Annotated[float, BeforeValidator(refuse_bool)]

_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}
"""By dataclass: making one takes milliseconds, and a dataset has thousands of files."""


def load_yaml(path: str | Path) -> Any:
    """The parsed file, plain values only (safe loading).

    InputError when it is missing, not a regular file or too large; otherwise those of `parse_yaml`.
    """
    return parse_yaml(read_input(path, expected="a YAML file", most_bytes=MAX_YAML_BYTES), str(path))


def parse_yaml(data: bytes, where: str) -> Any:
    """The values of one YAML document from a stranger; `where` names its file.

    InputError when it is another program's file, not text, not YAML or nested too deeply; InputErrors for aliases that
    grow without bound, for numbers of absurd length, and for keys given twice, of which PyYAML would silently keep the
    last.
    """
    if (foreign := foreign_file(data)) is not None:
        raise InputError(where, "valid YAML", foreign.what, foreign.hint)
    try:
        text = LAST_MARK.sub("\n", data.decode("utf-8"))
        _refuse_deep(text, where)
        loader = LOADER(text)
        root = loader.get_single_node()
        if root is None:
            return None
        # Before anything is built: merging (`<<`) nested aliases takes time without bound.
        if faults := _faults(root, where):
            raise InputErrors(faults)
        return loader.construct_document(root)
    except (InputError, InputErrors):
        raise
    except UnicodeDecodeError as error:
        utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        got = "text in UTF-16, which has to be saved as UTF-8" if utf16 else "bytes that are no UTF-8"
        raise InputError(where, "valid YAML", got) from error
    # PyYAML's own constructors fail with the last four for a tag whose text does not fit (`!!int ''`, `!!bool x`), and
    # for a number in sixties that a float cannot hold.
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError, OverflowError) as error:
        got = " ".join(str(error).split()) or type(error).__name__
        if "expected a single document" in got:
            got = "several documents, with --- between them; keep one"
        raise InputError(where, "valid YAML", got) from error


def _refuse_deep(text: str, where: str) -> None:
    """InputError for more levels than MAX_YAML_LEVELS: libyaml makes values level by level on the stack of the process,
    which ends with it. Events come one after the other; the file is read up to the first level that is too much."""
    level = 0
    for event in yaml.parse(text, LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            level += 1
            if level > MAX_YAML_LEVELS:
                raise InputError(where, NOT_DEEPER, f"a deeper one in line {event.start_mark.line + 1}")
        elif isinstance(event, yaml.CollectionEndEvent):
            level -= 1


def _faults(root: yaml.Node, where: str) -> list[InputError]:
    values, levels = _extent(root, {})
    if values > MAX_YAML_VALUES:
        expected = f"at most {MAX_YAML_VALUES} values with aliases resolved"
        return [InputError(where, expected, "more, or an endless loop")]
    if levels > MAX_YAML_LEVELS:
        return [InputError(where, NOT_DEEPER, f"{levels} levels with aliases resolved")]
    if line := _long_number(root):
        return [InputError(where, f"numbers of at most {MAX_NUMBER_CHARS} characters", f"a longer one in line {line}")]
    return [InputError(f"{where}: {key}", "each key once", f"it again in line {line}") for key, line in _repeated(root)]


def _long_number(root: yaml.Node) -> int | None:
    """The line of a number that would take minutes to read (`1:1:1:...` counts in sixties); None without one."""
    seen, waiting = set(), [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
        if number and isinstance(node, yaml.ScalarNode) and len(node.value) > MAX_NUMBER_CHARS:
            return node.start_mark.line + 1
        waiting += _children(node)
    return None


def _extent(node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Numbers of values and levels of `node` with every alias written out; one inside its own anchor is endless."""
    if id(node) not in known:
        known[id(node)] = MAX_YAML_VALUES + 1, 0
        values = levels = 0
        for child in _children(node):
            values_there, levels_there = _extent(child, known)
            values, levels = values + values_there, max(levels, levels_there)
        known[id(node)] = values + 1, levels + isinstance(node, yaml.CollectionNode)
    return known[id(node)]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _repeated(node: yaml.Node, key: str = "") -> list[tuple[str, int]]:
    """Dotted key and line of each mapping key that its mapping already has."""
    if isinstance(node, yaml.SequenceNode):
        return [
            twice for i, child in enumerate(node.value) for twice in _repeated(child, f"{key}.{i}" if key else str(i))
        ]
    found: list[tuple[str, int]] = []
    seen: set[str] = set()
    for name, child in node.value if isinstance(node, yaml.MappingNode) else ():
        if not isinstance(name, yaml.ScalarNode):
            continue
        inner = f"{key}.{name.value}" if key else name.value
        if name.value in seen:
            found.append((inner, name.start_mark.line + 1))
        seen.add(name.value)
        found += _repeated(child, inner)
    return found


def validate(cls: type[T], data: Any, where: str) -> T:
    """`data` as an instance of the dataclass `cls`; `where` names the file. InputErrors: one fault per wrong key."""
    try:
        if cls not in _ADAPTERS:
            _ADAPTERS[cls] = TypeAdapter(cls)
        return _ADAPTERS[cls].validate_python({} if data is None else data)
    except ValidationError as error:
        raise InputErrors([_fault(cls, entry, where) for entry in error.errors()]) from None


def validate_usable(cls: type[T], data: Any, where: str) -> tuple[T, list[InputError]]:
    """`data` as an instance of `cls` without the keys that have faults, and these faults: to list what else is wrong.

    Every key of `cls` has a default. The smallest part with a fault is left out: a key of a section, or the section.
    """
    faults: list[InputError] = []
    with collecting(faults):
        return validate(cls, data, where), []
    names = [tuple(fault.where.removeprefix(f"{where}: ").split(".")) for fault in faults]
    for depth in (2, 1):
        with suppress(InputErrors):
            return validate(cls, without(data, {name[:depth] for name in names}), where), faults
    return cls(), faults


def without(data: dict[Any, Any], names: set[tuple[str, ...]]) -> dict[Any, Any]:
    """`data` without the sections (one name) and the keys of sections (two) that are in `names`."""
    sections = {section: value for section, value in data.items() if (str(section),) not in names}
    return {
        section: {key: value for key, value in keys.items() if (str(section), str(key)) not in names}
        if isinstance(keys, dict)
        else keys
        for section, keys in sections.items()
    }


def _fault(cls: type, entry: Any, where: str) -> InputError:
    cause = entry.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return InputError(f"{where}: {cause.where}", cause.expected, cause.got, cause.hint)
    location = ".".join(str(part) for part in entry["loc"])
    got = reprlib.repr(entry["input"])
    key = f"{where}: {location}" if location else where
    if entry["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _known_keys(cls, entry["loc"][:-1])
        close = difflib.get_close_matches(str(entry["loc"][-1]), known, n=1)
        hint = _hint(str(entry["loc"][-1]), close[0]) if close else ""
        return InputError(
            key, f"one of the keys {', '.join(known)}" if known else "no such key", "an unknown key", hint
        )
    if entry["type"] == "missing":
        return InputError(key, "a value", "nothing (the key is missing)")
    if entry["type"] == "dataclass_type":
        known = _known_keys(cls, entry["loc"])
        hint = f"Did you mean {{source: {got}}}?" if "source" in known and isinstance(entry["input"], str) else ""
        return InputError(key, f"a mapping with the keys {', '.join(known)}" if known else "a mapping", got, hint)
    if entry["type"] in ("too_long", "too_short"):
        return InputError(key, _count(entry["ctx"]), f"{entry['ctx']['actual_length']}: {got}")
    expected = entry["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return InputError(key, WORDS.get(entry["type"], expected), got)


WORDS = {"dict_type": "a mapping", "list_type": "a list", "tuple_type": "a list"}
"""Types of pydantic's errors whose messages speak of Python's classes."""


def _count(bounds: dict[str, Any]) -> str:
    """How many items there must be, of pydantic's `too_long` or `too_short`."""
    if "max_length" in bounds:
        return f"at most {bounds['max_length']} item{'' if bounds['max_length'] == 1 else 's'}"
    return f"at least {bounds['min_length']} item{'' if bounds['min_length'] == 1 else 's'}"


def _hint(key: str, close: str) -> str:
    """The key that was meant most likely, and the order of its numbers where it is the name that says it."""
    orders = [name.rpartition("_")[2] for name in (key, close)]
    if orders[0] != orders[1] and all(sorted(order) == sorted("wxyz") for order in orders):
        return f"Did you mean '{close}'? Its numbers have the order {', '.join(orders[1])}"
    return f"Did you mean '{close}'?"


def _known_keys(cls: Any, path: tuple[Any, ...]) -> list[str]:
    """Keys of the dataclass at `path` inside the dataclass `cls`; empty when the path leaves plain dataclasses."""
    for part in path:
        cls = _inner_type(cls, part)
    cls = _bare(cls)
    if not hasattr(cls, "__dataclass_fields__"):
        return []
    return [_alias(hint) or name for name, hint in typing.get_type_hints(cls, include_extras=True).items()]


def _inner_type(kind: Any, part: Any) -> Any:
    """What the type `kind` has at one part of a pydantic location: a field, an index, or the tag of a union."""
    kind = _bare(kind)
    if hasattr(kind, "__dataclass_fields__"):
        hints = typing.get_type_hints(kind, include_extras=True)
        return next((hint for name, hint in hints.items() if part == (_alias(hint) or name)), None)
    arguments = typing.get_args(kind)
    if isinstance(part, int):
        return arguments[0] if arguments else None
    return next((member for member in arguments if _has_tag(member, part)), None)


def _bare(kind: Any) -> Any:
    """The type without its annotations, and without None as the alternative."""
    while True:
        arguments = typing.get_args(kind)
        if typing.get_origin(kind) is typing.Annotated:
            kind = arguments[0]
        elif len(arguments) == 2 and type(None) in arguments:
            kind = arguments[0] if arguments[1] is type(None) else arguments[1]
        else:
            return kind


def _alias(hint: Any) -> str:
    """The key under which a file gives a field whose name Python does not allow."""
    return next((alias for entry in getattr(hint, "__metadata__", ()) if (alias := getattr(entry, "alias", ""))), "")


def _has_tag(member: Any, tag: Any) -> bool:
    """Whether a member of a union is the one of `tag`: by a pydantic Tag, or by the Literal of its field `kind`."""
    if any(getattr(entry, "tag", None) == tag for entry in getattr(member, "__metadata__", ())):
        return True
    kind = typing.get_type_hints(member).get("kind") if hasattr(member, "__dataclass_fields__") else None
    return tag in typing.get_args(kind)
