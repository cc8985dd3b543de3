"""Errors of the registry. `server/errors.py` maps them to HTTP status codes."""

from collections.abc import Collection, Mapping


class AdaptersError(Exception):
    """Base class of the registry's errors; the message says what to do."""


class InvalidNameError(AdaptersError):
    """A name that cannot be a channel's, a slot's or a version's."""


class UnknownModelError(AdaptersError):
    """A request's `model` names no channel of the tenant, or a version that is not loaded."""

    field = "model"

    def __init__(self, model: str | None) -> None:
        what = "the model" if model is None else f"the model '{model}'"
        super().__init__(f"{what} does not exist or is not loaded: GET /v1/models lists the others")


class UnknownChannelError(AdaptersError):
    """The channel does not exist."""

    def __init__(self) -> None:
        super().__init__("there is no such channel: create it first, or correct its name")


class UnknownVersionError(AdaptersError):
    """The version does not exist."""

    def __init__(self) -> None:
        super().__init__("there is no such version: 'pawl adapters list' shows them")


class ChannelTakenError(AdaptersError):
    """A channel of that name belongs to another tenant."""

    def __init__(self) -> None:
        super().__init__("a channel of that name exists already: choose another name")


class TransitionError(AdaptersError):
    """A change of state that is not allowed."""

    def __init__(self, version: str, state: str, wanted: str, instead: str) -> None:
        self.version = version
        super().__init__(f"{version} is {state} and cannot become {wanted}: {instead}")


class NothingToCompareError(AdaptersError):
    """A comparison with a role that no version of the channel has."""

    field = "between"

    def __init__(self, channel: str, role: str) -> None:
        super().__init__(
            f"the channel '{channel}' has no {role} that can answer: "
            "leave 'between' out, or ask for 'samples'"
        )


class NothingToRollBackError(AdaptersError):
    """The channel serves the base model and has no standby version."""

    def __init__(self, channel: str) -> None:
        super().__init__(
            f"{channel} serves the base model and has no version to go back to; a version that is "
            "rolling out is ended by 'pawl rollouts refuse VERSION'"
        )


class StaleRouteError(AdaptersError):
    """Another writer changed the route in the meantime; this change was not made."""

    def __init__(self, channel: str) -> None:
        super().__init__(f"the route of {channel} was changed meanwhile: look at it and try again")


class NotLoadedEverywhereError(AdaptersError):
    """Other servers have not loaded the versions of the new route; the route was not changed.

    `servers` maps their names to the reasons.
    """

    def __init__(self, versions: Collection[str], servers: Mapping[str, str]) -> None:
        self.servers = dict(servers)
        names = ", ".join(sorted(versions))
        each = "; ".join(f"{name}: {why}" for name, why in sorted(servers.items()))
        super().__init__(
            f"{names} is not loaded on every server ({each}): look at 'pawl servers', mend or stop "
            "those, and try again"
        )


class ForeignBaseModelError(AdaptersError):
    """Another running server on this database serves another base model."""

    def __init__(self, server: str) -> None:
        super().__init__(
            f"the server {server} on this database serves another base model: serve the same one, "
            "or stop all servers before you change it"
        )


class RouteChangeError(AdaptersError):
    """An invalid route: a version in two roles, or a share without a version."""


class DuplicateAdapterError(AdaptersError):
    """The same content is registered already, as `version`."""

    def __init__(self, version: str, state: str) -> None:
        self.version = version
        super().__init__(
            f"the same adapter is registered as {version} ({state}): use that one, or train another"
        )


class NoFreeSlotError(AdaptersError):
    """Every adapter slot of the engine holds a version that is still needed."""

    def __init__(self, version: str, slots: int, residents: Mapping[str, str]) -> None:
        held = ", ".join(f"{name} ({state})" for name, state in sorted(residents.items()))
        super().__init__(
            f"{version} cannot be loaded: all {slots} slots are taken by {held}; "
            "reject or retire one of them, or give the engine more slots"
        )


class AdapterRefusedError(AdaptersError):
    """The engine could not load the version; the loaded versions and the route are unchanged."""

    def __init__(self, version: str, cause: str) -> None:
        self.version = version
        super().__init__(f"the engine did not load {version}: {cause} What serves is unchanged.")


class ArtifactError(AdaptersError):
    """An adapter's files could not be written or read."""


class CorruptArtifactError(ArtifactError):
    """A version's files are missing or differ from those that were published."""

    def __init__(self, version: str, what: str) -> None:
        self.version = version
        super().__init__(f"the files of {version} are damaged ({what}): restore or retire it")


class StoreAwayError(ArtifactError):
    """The store is empty: probably not mounted, or another bucket; no version is damaged."""

    def __init__(self) -> None:
        super().__init__(
            "the store of adapters.store is empty or not there: mount the folder, or correct the "
            "address"
        )


class StoreAddressError(AdaptersError):
    """`adapters.store` cannot be used; the message never contains its value."""


class VettingError(AdaptersError):
    """Base class of the reasons why an adapter is refused."""


class FolderError(VettingError):
    """The folder lacks one of an adapter's files, or one of them is not a plain file."""


class TooLargeError(VettingError):
    """A file is larger than `adapters.max_bytes`."""


class WeightsFormatError(VettingError):
    """`adapter_model.safetensors` is not a valid safetensors file of LoRA weights."""


class ConfigError(VettingError):
    """`adapter_config.json` cannot be read, or contradicts the weights."""


class UnsupportedAdapterError(VettingError):
    """The engine does not support this kind of adapter, or would load it wrongly."""


class RankError(VettingError):
    """The rank exceeds the engine's `max_lora_rank`, or is not that of the weights."""


class WrongBaseModelError(VettingError):
    """The adapter's modules or shapes do not match the base model."""


class NonFiniteWeightsError(VettingError):
    """The weights contain NaN or infinity."""


class HugeUpdateError(VettingError):
    """Finite weights whose update of a module would overflow or make the engine compute NaN."""

    def __init__(self, module: str, size: str) -> None:
        super().__init__(
            f"{module} would be changed by {size}: a diverged training or a wrong lora_alpha; "
            "train again with a lower learning rate"
        )
