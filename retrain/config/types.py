"""Types that several sections of `[retrain]` use."""

from typing import Annotated, Literal

from pydantic import Field

Source = Literal["HUMAN", "LLM_JUDGE", "CODE"]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Metrics = frozenset[str]
