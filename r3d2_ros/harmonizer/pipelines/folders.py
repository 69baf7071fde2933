"""Pipeline folders in diffusers' layout: what is in one, and which code loading it would run, before any is run."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from r3d2_ros.errors import InputError, InputErrors, MissingPackageError
from r3d2_ros.harmonizer.diffusers_layout import (
    INDEX_FILE,
    WEIGHTS,
    WeightFile,
    in_one_precision,
    is_pipeline_folder,
    weight_file,
)
from r3d2_ros.harmonizer.model.checkpoints import read_json
from r3d2_ros.harmonizer.model.tensor_files import listed, read_shapes

CODE_FILE = "pipeline.py"
"""The file that diffusers runs where a folder is given to it as `custom_pipeline`."""

LIBRARIES = ("diffusers", "transformers")
"""Whose classes read weights and never run what lies beside them."""

PICKLES = re.compile(r"(diffusion_pytorch_model|pytorch_model|model)\S*\.bin|\S+\.(ckpt|pt|pth|pkl)")
MAX_INDEX_BYTES = 2**24
"""SD-Turbo's UNet has 686 tensors; an index names each."""

CODE_KEY = "auto_map"
"""In a component's configuration: classes to import from files of the folder."""


@dataclass(frozen=True)
class Component:
    """One part of a pipeline: the class that reads it, and `LIBRARY` or a file of the folder that defines it."""

    name: str
    library: str
    class_name: str


@dataclass(frozen=True)
class PipelineFolder:
    """What the index of a folder says.

    code       everything that would be run to load it, for a person; empty where nothing would
    code_file  defines the pipeline although the index does not say so; None where the index is enough
    variant    "fp16" where a part has its weights in this precision only
    """

    path: Path
    class_name: str
    components: tuple[Component, ...]
    code: tuple[str, ...]
    code_file: Path | None
    variant: str | None

    def weight_files(self, component: str) -> list[Path]:
        """The safetensors files that diffusers and transformers read for a part."""
        inside = self.path / component
        return [inside / name for name in in_one_precision(_weights(inside), half=self.variant is not None)]


def read_pipeline_folder(path: Path) -> PipelineFolder:
    """The index of a folder, without importing or running what it names. InputError(s): it has none, or a wrong one."""
    if not path.is_dir():
        got = "a file" if path.exists() else "no such folder"
        raise InputError(str(path), f"a pipeline folder with {INDEX_FILE}", got)
    if not is_pipeline_folder(path):
        hint = "A checkpoint in this project's format is run by backend r3d2" if (path / "config.json").exists() else ""
        raise InputError(str(path), f"a pipeline folder with {INDEX_FILE}", "none in it", hint)
    where = str(path / INDEX_FILE)
    data = read_json(path / INDEX_FILE)
    if not isinstance(data, dict):
        raise InputError(where, "an object", type(data).__name__)
    module, class_name = _class_of(data.get("_class_name"), f"{where}: _class_name")
    components = tuple(
        _component(name, value, where)
        for name, value in data.items()
        if isinstance(value, list) and not name.startswith("_") and value != [None, None]
    )
    return PipelineFolder(
        path,
        class_name,
        components,
        code=(*_pipeline_code(path, module, class_name, where), *_component_code(path, components)),
        code_file=(path / CODE_FILE).absolute() if module is None and (path / CODE_FILE).is_file() else None,
        variant="fp16" if any(_half_only(path / component.name) for component in components) else None,
    )


def check_code(folder: PipelineFolder, *, allow_remote_code: bool) -> None:
    """InputError when loading would run code that the user has not allowed."""
    if folder.code and not allow_remote_code:
        raise InputError(
            str(folder.path),
            "a folder that loads without code of its own",
            f"code that would be run: {', '.join(folder.code)}",
            "It can do anything to this machine: read it, then set harmonizer.allow_remote_code: true "
            "(`r3d2 model`: --allow-remote-code). Nothing of it was run",
        )


def check_parts(folder: PipelineFolder) -> None:
    """InputErrors for parts that are missing, pickled or truncated; MissingPackageError for a library of one."""
    for component in folder.components:
        if component.library in LIBRARIES and find_spec(component.library) is None:
            needed_for = f"The part '{component.name}' of {folder.path}"
            raise MissingPackageError(component.library, needed_for, f"pip install {component.library}")
    faults: list[InputError] = []
    for component in folder.components:
        try:
            _check_part(folder.path / component.name)
        except InputError as error:
            faults.append(error)
    if faults:
        raise InputErrors(faults)


def _class_of(value: Any, where: str) -> tuple[str | None, str]:
    """File and class of the pipeline; no file where diffusers has the class."""
    if isinstance(value, str) and value.isidentifier():
        return None, value
    if isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) and v.isidentifier() for v in value):
        return value[0], value[1]
    raise InputError(where, "the name of a class, or [file, class]", repr(value))


def _component(name: str, value: list[Any], where: str) -> Component:
    if len(value) != 2 or not all(isinstance(word, str) for word in value) or not name.isidentifier():
        raise InputError(f"{where}: {name}", "[library, class], or [null, null]", json.dumps(value)[:100])
    return Component(name, value[0], value[1])


def _pipeline_code(path: Path, module: str | None, class_name: str, where: str) -> list[str]:
    import diffusers

    if module is not None:
        if not (path / f"{module}.py").is_file():
            raise InputError(f"{where}: _class_name", f"{module}.py in the folder", "no such file")
        return [f"{module}.py ({class_name})"]
    if (path / CODE_FILE).is_file():
        return [f"{CODE_FILE} ({class_name})"]
    if not hasattr(diffusers, class_name):
        hint = "Its code lies beside the weights where its authors published them: get the .py files too"
        raise InputError(f"{where}: _class_name", "a pipeline of diffusers, or its code", repr(class_name), hint)
    return []


def _component_code(path: Path, components: tuple[Component, ...]) -> list[str]:
    from diffusers import pipelines

    code = []
    for component in components:
        inside = path / component.name
        if (inside / f"{component.library}.py").is_file():
            code.append(f"{component.name}/{component.library}.py ({component.class_name})")
        elif component.library not in LIBRARIES and not hasattr(pipelines, component.library):
            code.append(f"the installed package '{component.library}' ({component.class_name})")
        for config in sorted(inside.glob("*.json")):
            if "config" in config.name and _names_code(config):
                code.append(f"what {component.name}/{config.name} names in {CODE_KEY}")
    return code


def _half_only(path: Path) -> bool:
    files = _weights(path).values()
    return bool(files) and all(file.half for file in files)


def _weights(path: Path) -> dict[str, WeightFile]:
    """By their names, the files that diffusers and transformers look for."""
    files = {file.name: weight_file(file.name) for file in path.glob("*.safetensors")}
    return {name: file for name, file in files.items() if file is not None and file.network in (WEIGHTS, "model")}


def _names_code(path: Path) -> bool:
    data = read_json(path)
    return isinstance(data, dict) and CODE_KEY in data


def _check_part(path: Path) -> None:
    """InputError unless the folder of a part is there, its weights can be read, and an index finds what it names."""
    if not path.is_dir():
        raise InputError(str(path), "the folder of a part", "no such folder", "Get the whole repository")
    names = {file.name for file in path.iterdir()}
    weights = sorted(name for name in names if name.endswith(".safetensors"))
    pickled = sorted(name for name in names if PICKLES.fullmatch(name))
    if pickled and not weights:
        hint = "Pickles can hold code and are not read: get the repository's safetensors files"
        raise InputError(str(path), "weights as safetensors", f"only {listed(pickled)}", hint)
    if "config.json" in names and not weights:
        raise InputError(str(path), "weights as safetensors", "none", "Get the whole repository")
    shapes = {name: read_shapes(path / name) for name in weights}
    for index in sorted(path.glob("*.safetensors.index.json")):
        data = read_json(index, most_bytes=MAX_INDEX_BYTES)
        files = data.get("weight_map") if isinstance(data, dict) else None
        if not (isinstance(files, dict) and all(isinstance(name, str) for name in files.values())):
            expected = "names of tensors, each with the name of its file"
            raise InputError(f"{index}: weight_map", expected, "another form", "Get the whole repository again")
        shards = set(files.values())
        if missing := sorted(shards - set(weights)):
            raise InputError(str(index), f"{len(shards)} files that it names", f"missing: {listed(missing)}")
        if lacking := sorted(key for key, name in files.items() if key not in shapes[name]):
            expected = f"{len(files)} tensors in the files that it names"
            raise InputError(str(index), expected, f"{len(lacking)} missing: {listed(lacking)}", "Get the files again")
