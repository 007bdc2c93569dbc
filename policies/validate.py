"""From Pydantic's errors to an author's words: where, what, and what would do."""

from __future__ import annotations

import types
import typing
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from policies.problems import Problem, Report, join, listed, nearest, shown

D = TypeVar("D", bound=BaseModel)
Location = tuple[int | str, ...]

_WORDS = {
    "string_type": "a text in quotes is expected",
    "int_type": "a whole number is expected",
    "bool_type": "`true` or `false` is expected",
    "list_type": "a list in square brackets is expected",
    "dict_type": "a table of keys is expected",
    "model_type": "a table of keys is expected",
    "model_attributes_type": "a table of keys is expected",
    "string_pattern_mismatch": "{shown} is not written as it must be",
    "string_too_short": "this may not be empty",
    "string_too_long": "this is longer than {max_length} characters",
    "too_short": "at least {min_length} must be given",
    "too_long": "more than {max_length} were given",
    "greater_than_equal": "this must be {ge} or more",
    "less_than_equal": "this must be {le} or less",
}


def validated(model: type[D], raw: object, report: Report, place: str = "") -> D | None:
    """`raw` as a `model`, or None with the problems of its form in `report`."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        # Stable since pydantic 2: `errors` lists all of them, in order of the fields.
        for item in error.errors(include_url=False):
            report.problems.append(_problem(model, item, place))
    return None


def _problem(model: type[BaseModel], error: Any, prefix: str) -> Problem:
    location: Location = tuple(part for part in error["loc"] if part != "[key]")
    place = join(prefix, *(f"{part + 1}" if isinstance(part, int) else part for part in location))
    kind: str = error["type"]
    if kind == "extra_forbidden":
        word = str(location[-1])
        return Problem(place, f"there is no key {shown(word)} here", nearest(word, _keys(model, location[:-1]), "keys"))
    if kind == "missing":
        return Problem(place, "this key is missing", _description(model, location))
    if kind == "literal_error":
        return Problem(place, f"{shown(error['input'])} is not one of {_quoted(error['ctx']['expected'])}")
    if kind == "value_error":
        return Problem(place, str(error["ctx"]["error"]))
    words = _WORDS.get(kind)
    if words is None:
        return Problem(place, "this value does not fit here", _description(model, location))
    return Problem(place, words.format(shown=shown(error["input"]), **error.get("ctx", {})))


def _quoted(expected: str) -> str:
    """Pydantic writes `'a', 'b' or 'c'`."""
    return listed(expected.replace(" or ", ", ").replace("'", "").split(", "))


def _keys(model: type[BaseModel], location: Location) -> list[str]:
    """The keys that the table at `location` may have."""
    inner = _model_at(model, location)
    return [field.alias or name for name, field in inner.model_fields.items()] if inner else []


def _description(model: type[BaseModel], location: Location) -> str | None:
    inner = _model_at(model, location[:-1])
    for name, field in inner.model_fields.items() if inner else ():
        if (field.alias or name) == location[-1] and field.description:
            first = field.description.partition(". ")[0].rstrip(".")
            return first[:1].lower() + first[1:]
    return None


def _model_at(model: type[BaseModel], location: Location) -> type[BaseModel] | None:
    annotation: Any = model
    for part in location:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            fields = {field.alias or name: field for name, field in annotation.model_fields.items()}
            annotation = _bare(fields[str(part)].annotation) if part in fields else None
        elif typing.get_origin(annotation) in (dict, list):
            annotation = _bare(typing.get_args(annotation)[-1])
        else:
            return None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _bare(annotation: Any) -> Any:
    """Without `| None` and `Annotated`."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _bare(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return _bare(next(option for option in typing.get_args(annotation) if option is not type(None)))
    return annotation
