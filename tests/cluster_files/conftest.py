"""Kubernetes' own way of judging a manifest: KubeRay's schemas, and no field that they do not know."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

ROOT = Path(__file__).parents[2]
SCHEMAS = Path(os.environ.get("KUBERAY_SCHEMAS", ROOT / "../shared/schemas"))
HOW_TO_GET = """{} is missing. It is the field openAPIV3Schema of version v1 in KubeRay's custom resource
(ray-operator/config/crd/bases/ray.io_{}.yaml of ray-project/kuberay), as gzipped JSON. Put it into ../shared/schemas,
or name its folder in KUBERAY_SCHEMAS."""


def without_unknown_fields(schema: Any) -> Any:
    """Return a schema that refuses the fields it does not name, as the API server does with kubectl's validation."""
    if isinstance(schema, list):
        return [without_unknown_fields(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: without_unknown_fields(value) for key, value in schema.items()}
    # `properties` is also the name of a table of fields, whose values are schemas; a schema has a type beside it.
    is_closed = "properties" in schema and schema.get("type") == "object"
    if is_closed and not schema.get("x-kubernetes-preserve-unknown-fields"):
        strict.setdefault("additionalProperties", False)
    return strict


@pytest.fixture(scope="session")
def faults() -> Callable[[dict[str, Any]], list[str]]:
    """Return a function that says what is wrong with a manifest of KubeRay's."""

    def find(manifest: dict[str, Any]) -> list[str]:
        kind = f"{manifest['kind'].lower()}s"
        path = SCHEMAS / f"{kind}.v1.schema.json.gz"
        assert path.exists(), HOW_TO_GET.format(path, kind)
        schema = without_unknown_fields(json.loads(gzip.decompress(path.read_bytes())))
        # `metadata` is judged by the API server, not by the custom resource.
        schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
        found = jsonschema.Draft202012Validator(schema).iter_errors(manifest)
        return [f"{error.json_path}: {error.message}" for error in found]

    return find
