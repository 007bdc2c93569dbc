"""The JSON Schema of policy documents, for editors. `python -m policies.schema` writes `schema.json` anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from policies.documents import CasesDocument, LicenceDocument, PolicyDocument

FILE: Final = Path(__file__).with_name("schema.json")
_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"


def policy_schema() -> dict[str, Any]:
    """The schema of `policy.toml`."""
    return _schema(PolicyDocument, "Baopingkou policy")


def cases_schema() -> dict[str, Any]:
    """The schema of `cases.toml`."""
    return _schema(CasesDocument, "Baopingkou policy examples")


def licence_schema() -> dict[str, Any]:
    """The schema of a licence."""
    return _schema(LicenceDocument, "Baopingkou licence")


def schema_text() -> str:
    """What `schema.json` holds."""
    return json.dumps(policy_schema(), indent=2, ensure_ascii=False) + "\n"


def _schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    return {"$schema": _DRAFT, **_for_editors(model.model_json_schema(by_alias=True)), "title": title}


def _for_editors(schema: Any) -> Any:
    """TOML has no null: a key that may be left out is just not required. A name that is none matches nothing."""
    if isinstance(schema, list):
        return [_for_editors(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _for_editors(inner) for key, inner in schema.items() if not (key == "default" and inner is None)}
    if "patternProperties" in kept:
        kept["additionalProperties"] = False
    options = [option for option in kept.get("anyOf", ()) if option != {"type": "null"}]
    if "anyOf" in kept:
        kept["anyOf"] = options
    if len(options) == 1:
        del kept["anyOf"]
        return options[0] | kept
    return kept


if __name__ == "__main__":
    FILE.write_text(schema_text(), encoding="utf-8")
