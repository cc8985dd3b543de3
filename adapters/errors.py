"""What can go wrong with adapters. No HTTP here; `server/errors.py` maps these to status codes."""

from collections.abc import Collection, Mapping


class AdaptersError(Exception):
    """Whatever the registry refuses or fails to do; the message says what to do."""


class InvalidNameError(AdaptersError):
    """A name that cannot be a channel's, a slot's or a version's."""


class UnknownModelError(AdaptersError):
    """A request's `model` names no channel of the tenant, or nothing that can answer now."""

    field = "model"

    def __init__(self, model: str | None) -> None:
        what = "the model" if model is None else f"the model '{model}'"
        super().__init__(f"{what} does not exist or is not loaded: GET /v1/models lists the others")


class UnknownChannelError(AdaptersError):
    """No such channel."""

    def __init__(self) -> None:
        super().__init__("there is no such channel: create it first, or correct its name")


class UnknownVersionError(AdaptersError):
    """No such version."""

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
    """The channel's live version is the base model and nothing came before it."""

    def __init__(self, channel: str) -> None:
        super().__init__(
            f"{channel} serves the base model and has no version to go back to; a version that is "
            "rolling out is ended by 'pawl rollouts refuse VERSION'"
        )


class StaleRouteError(AdaptersError):
    """Somebody else changed the route meanwhile; nothing was changed."""

    def __init__(self, channel: str) -> None:
        super().__init__(f"the route of {channel} was changed meanwhile: look at it and try again")


class NotLoadedEverywhereError(AdaptersError):
    """Other servers have not loaded what the route is to name; nothing was changed.

    `servers` says why, by name.
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
    """Another live server on this database serves another base model."""

    def __init__(self, server: str) -> None:
        super().__init__(
            f"the server {server} on this database serves another base model: serve the same one, "
            "or stop all servers before you change it"
        )


class RouteChangeError(AdaptersError):
    """A route that cannot be: a version in two roles, a share without a version."""


class DuplicateAdapterError(AdaptersError):
    """The same content is registered already, as `version`."""

    def __init__(self, version: str, state: str) -> None:
        self.version = version
        super().__init__(
            f"the same adapter is registered as {version} ({state}): use that one, or train another"
        )


class NoFreeSlotError(AdaptersError):
    """Every slot of the engine holds a version that is still wanted."""

    def __init__(self, version: str, slots: int, residents: Mapping[str, str]) -> None:
        held = ", ".join(f"{name} ({state})" for name, state in sorted(residents.items()))
        super().__init__(
            f"{version} cannot be loaded: all {slots} slots are taken by {held}; "
            "reject or retire one of them, or give the engine more slots"
        )


class AdapterRefusedError(AdaptersError):
    """The engine would not load the version; what serves is unchanged."""

    def __init__(self, version: str, cause: str) -> None:
        self.version = version
        super().__init__(f"the engine did not load {version}: {cause} What serves is unchanged.")


class ArtifactError(AdaptersError):
    """An adapter's files could not be written or read."""


class CorruptArtifactError(ArtifactError):
    """A version's files are missing or not those that were published."""

    def __init__(self, version: str, what: str) -> None:
        self.version = version
        super().__init__(f"the files of {version} are damaged ({what}): restore or retire it")


class StoreAwayError(ArtifactError):
    """The store has nothing at all: not mounted, or another bucket. No version is to blame."""

    def __init__(self) -> None:
        super().__init__(
            "the store of adapters.store is empty or not there: mount the folder, or correct the "
            "address"
        )


class StoreAddressError(AdaptersError):
    """`adapters.store` names a place that cannot be used here; the message never repeats it."""


class VettingError(AdaptersError):
    """An adapter that is not let in."""


class FolderError(VettingError):
    """The folder holds something else than an adapter's plain files, or lacks one of them."""


class TooLargeError(VettingError):
    """More bytes than `adapters.max_bytes`."""


class WeightsFormatError(VettingError):
    """`adapter_model.safetensors` cannot be read as such."""


class ConfigError(VettingError):
    """`adapter_config.json` cannot be read, or contradicts the weights."""


class UnsupportedAdapterError(VettingError):
    """A kind of adapter that the engine would load wrongly or not at all."""


class RankError(VettingError):
    """A rank above what the engine was started for, or one that the weights do not have."""


class WrongBaseModelError(VettingError):
    """The adapter's modules or shapes are not those of the base model."""


class NonFiniteWeightsError(VettingError):
    """NaN or infinite weights."""


class HugeUpdateError(VettingError):
    """Finite weights that change a module by more than the engine survives."""

    def __init__(self, module: str, size: str) -> None:
        super().__init__(
            f"{module} would be changed by {size}: a diverged training or a wrong lora_alpha; "
            "train again with a lower learning rate"
        )
