"""Configuration files: YAML into a tree, and what is wrong with one said in a line that names file, key and remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from sensorium.errors import SensoriumError, did_you_mean

Place = tuple[int | str, ...]


class _Loader(yaml.SafeLoader):
    """YAML's own reader keeps the last of two equal keys and says nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for number, key in enumerate(keys):
            if key.value != "<<" and any(key.value == earlier.value for earlier in keys[:number]):
                raise _TwiceError(key.value, key.start_mark.line + 1)
        return super().construct_mapping(node, deep)


class _TwiceError(Exception):
    """A key that stands in a mapping twice: the key, and the line of the second."""


def read_yaml(path: Path, remedy: str) -> Any:
    """What a YAML file holds. Raises SensoriumError, with `remedy` where the file is not there."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise SensoriumError(path, f"cannot be read ({error.strerror or error}).", remedy) from error
    except _TwiceError as error:
        key, line = error.args
        raise SensoriumError(f"{path}: {key}", f"stands there a second time, in line {line}.", "Keep one.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SensoriumError(path, f"is not YAML ({' '.join(str(error).split())}).") from error


def laid_over(base: dict[str, Any], tree: dict[str, Any]) -> dict[str, Any]:
    """`base` with what `tree` says instead. Keys of both are merged, down to what is no mapping: that is replaced,
    lists as well, and so is a mapping of another `kind` or `scheme`, whose keys are others.
    """
    both = {key: laid_over(base[key], value) if _are_alike(base.get(key), value) else value
            for key, value in tree.items()}
    return base | both


def _are_alike(one: object, other: object) -> bool:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return False
    return all(other.get(tag, one.get(tag)) == one.get(tag) for tag in ("kind", "scheme"))


def explain(path: Path, error: ValidationError, model: type[BaseModel]) -> SensoriumError:
    """One line of ours for pydantic's complaints about a file of a model.

    An unknown key comes first, since a misspelt one is also missing. Validators of ours that look at a whole model name
    the place themselves.
    """
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    place, _ = _follow(model, first["loc"])
    where = f"{path}: {place}" if place else str(path)
    context = first.get("ctx", {})
    match first["type"]:
        case "extra_forbidden":
            _, owners = _follow(model, first["loc"][:-1])
            known = list(owners[0].model_fields) if len(owners) == 1 else []
            return SensoriumError(where, "unknown key.", did_you_mean(str(first["loc"][-1]), known) if known else "")
        case "missing":
            return SensoriumError(where, "is missing.")
        case "literal_error" if first["loc"][-1] == "[key]":
            known = _quoted(context["expected"])
            return SensoriumError(where, "unknown key.", did_you_mean(str(first["loc"][-2]), known))
        case "union_tag_invalid":
            where = f"{where}.{context['discriminator'].strip(chr(39))}"
            said = f"there is no {where.rpartition('.')[2]} `{context['tag']}`."
            return SensoriumError(where, said, did_you_mean(context["tag"], _quoted(context["expected_tags"])))
        case "value_error":
            said = str(context["error"])
            return SensoriumError(where, said if said.endswith(("?", ".")) else f"{said}.")
    given = first.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return SensoriumError(where, f"{first['msg'][0].lower()}{first['msg'][1:]}{shown}.")


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text)


def _follow(model: type[BaseModel], loc: Place) -> tuple[str, list[type[BaseModel]]]:
    """A place in pydantic's notation as one in the file, and the models that may stand there."""
    text, owners = "", [model]
    for key in loc:
        if key == "[key]":  # pydantic's, not in the file
            continue
        if isinstance(key, int):
            text += f"[{key}]"
            continue
        field = next((owner.model_fields[key] for owner in owners if key in owner.model_fields), None)
        if field is None and (tagged := [owner for owner in owners if _has_tag(owner, key)]):
            owners = tagged  # pydantic's too: which arm of a union was meant
            continue
        text += f".{key}" if text else key
        owners = [] if field is None else _models(field.annotation)
    return text, owners


def _has_tag(model: type[BaseModel], tag: str) -> bool:
    return any(tag in get_args(field.annotation) for field in model.model_fields.values())


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models inside an annotation: itself, or the arms of a union or a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arm in get_args(annotation) for model in _models(arm)]
