"""How a field is described to clients where it is read otherwise than it is described."""

from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class DescribedAs:
    """Marks a field that is checked later, by hand: its JSON schema is that of the type `model`.

    `Annotated[dict[str, Any], DescribedAs(InteractionIn)]` takes any object from Python, and the
    API's description refers to `InteractionIn`. For values that are parsed already
    (`model_validate`): what pydantic parses from JSON itself would be read as `model`.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """The field's own checks, and the model for whatever reads of JSON."""
        return core_schema.json_or_python_schema(
            json_schema=handler.generate_schema(self._model), python_schema=handler(source)
        )
