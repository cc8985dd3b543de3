"""`[retrain.evaluation]`: how the evaluation runs."""

from pydantic import Field

from common.settings import FunctionSpec, Seconds, Section


class EvaluationConfig(Section):
    """How the evaluation runs."""

    concurrency: int = Field(default=4, ge=1)
    """Chat requests of the evaluation in flight, at most. Low, because they share the engine with
    users."""
    judge_concurrency: int = Field(default=8, ge=1)
    """Prompts judged concurrently, at most."""
    calibration: int = Field(default=400, ge=0)
    """Comparisons by held-out people that the judge makes as well, at most, to measure how far it
    agrees with them. Each costs a judge that compares two calls. 0 measures nothing."""
    attempts: int = Field(default=3, ge=1)
    """Attempts per chat request before its prompt is counted as failed."""
    first_pause: Seconds = Field(default=0.5, ge=0)
    """Seconds before the second attempt. The pause doubles with each further attempt."""
    max_failed_share: float = Field(default=0.05, ge=0, lt=1)
    """Largest share of prompts that may fail. If more fail, the run fails, since the remaining
    prompts may not be representative."""
    harms: dict[str, FunctionSpec] = Field(default={})
    """Harm metrics: name to `module:function(conversation, answer)`, which returns 0 (harmless) to
    1 (harmful) within 30 seconds per answer."""
