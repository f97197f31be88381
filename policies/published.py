"""The JSON Schema of everything a user may write, for editors and for other checkers.

``muxel schema`` prints it, and ``muxel.schema.json`` beside this file is that print. It is made of the pydantic models,
descriptions and all, in draft-07: what every editor reads. It knows the shape of a document; names that must exist and
figures that must fit each other are for ``muxel check``.
"""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from pydantic_core import core_schema

from policies.document import API_VERSION
from policies.schema import KINDS

DRAFT = "http://json-schema.org/draft-07/schema#"


def published(kind: str = "") -> dict[str, Any]:
    """The schema of one kind, or of all in one, told apart by ``kind``. Raises KeyError for a kind there is none of."""
    models = {kind: KINDS[kind]} if kind else KINDS
    refs, schema = models_json_schema(
        [(model, "validation") for model in models.values()], by_alias=True, schema_generator=_Untitled
    )
    definitions = schema["$defs"]
    if kind:
        return {"$schema": DRAFT, **definitions.pop(kind), "$defs": definitions}
    return {
        "$schema": DRAFT,
        "title": f"Documents of {API_VERSION}",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata"],
        "properties": {"apiVersion": {"const": API_VERSION}, "kind": {"enum": list(KINDS)}},
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": name}}, "required": ["kind"]},
                "then": refs[model, "validation"],
            }
            for name, model in models.items()
        ],
        "$defs": definitions,
    }


class _Untitled(GenerateJsonSchema):
    """Without a title for each field, which would only repeat its name in another spelling, and without the OpenAPI
    keyword that some validators stumble over."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> dict[str, Any]:
        told = super().tagged_union_schema(schema)
        told.pop("discriminator", None)
        return told
