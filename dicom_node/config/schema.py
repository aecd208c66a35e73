"""JSON Schema of node.yaml, for editors."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from dicom_node.config.model import NodeSettings
from dicom_node.plugins import known_kinds, load_kind


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of node.yaml with every destination kind, pipeline and output that is installed."""
    schema = NodeSettings.model_json_schema()
    definitions = schema["$defs"]
    branches = []
    for kind in known_kinds("destination"):
        model: type[BaseModel] = load_kind("destination", kind).Settings
        name = f"destination_{kind}"
        own = model.model_json_schema(ref_template=f"#/$defs/{name}_{{model}}")
        definitions.update({f"{name}_{key}": value for key, value in own.pop("$defs", {}).items()})
        own["properties"]["kind"] = {"const": kind, "description": f"{kind}"}
        definitions[name] = own
        branches.append({"$ref": f"#/$defs/{name}"})
    schema["properties"]["destinations"]["additionalProperties"] = {"oneOf": branches}
    definitions.pop("DestinationSettings", None)
    definitions["Rule"]["properties"]["pipeline"]["enum"] = list(known_kinds("pipeline"))
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "node.yaml"
    return schema
