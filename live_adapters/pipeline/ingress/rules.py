"""What a gateway allows: sizes, quotas, classes, tokens. The defaults refuse only what is no event of the scenario."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sentra_sim.errors import InputError


@dataclass(frozen=True)
class Quota:
    """A tenant's token bucket: `rate_eps` events per second in the long run, `burst_events` at once."""

    tenant: int
    rate_eps: float
    burst_events: float

    def __post_init__(self) -> None:
        for name in ("rate_eps", "burst_events"):
            if not getattr(self, name) > 0:
                raise InputError(
                    f"quotas: tenant {self.tenant}: {name} must be above 0, got {getattr(self, name)}; "
                    "leave the tenant out for no quota"
                )


@dataclass(frozen=True)
class GatewayRules:
    """The rules of a gateway.

    Attributes:
        max_message_bytes: Of one IngestRequest.
        max_attribute_bytes: Of one event's attributes.
        max_in_flight_events: Beyond so many events not yet acknowledged by Kafka, `Stream` is not read and `Exchange`
            refuses what gold tenants send.
        silver: Tenants whose events are shed from three quarters of that bound on.
        bronze: Tenants whose events are shed from half of it on. All other tenants are gold.
        retry_after_s: What a client is told to wait for after such a refusal; after one for a quota it is computed.
        patience: An `Exchange` stream ends after so many messages in a row of which nothing was taken for lack of room.
        quotas: Of tenants that have one; they hold for both methods.
        token_secret: Key of the tenants' tokens; empty asks for none.
        chaos: Lets `PUT /chaos` refuse or delay messages.
        drain_s: How long open streams may go on after the gateway was asked to end.
    """

    max_message_bytes: int = 4 << 20
    max_attribute_bytes: int = 65
    max_in_flight_events: int = 200_000
    silver: tuple[int, ...] = ()
    bronze: tuple[int, ...] = ()
    retry_after_s: float = 0.1
    patience: int = 1_000
    quotas: tuple[Quota, ...] = ()
    token_secret: str = field(default="", repr=False)
    chaos: bool = False
    drain_s: float = 6.0

    def __post_init__(self) -> None:
        least = {"max_message_bytes": 1, "max_in_flight_events": 1, "patience": 1, "drain_s": 0, "retry_after_s": 0}
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise InputError(
                    f"gateway rules: {name} must be at least {bound}, got {getattr(self, name)}; leave it out for the default"
                )
        if both := sorted({*self.silver} & {*self.bronze}):
            raise InputError(
                f"gateway rules: a tenant must be of one class, got {both} in silver and bronze; choose one"
            )
        tenants = [quota.tenant for quota in self.quotas]
        if len(tenants) != len(set(tenants)):
            raise InputError(f"gateway rules: quotas must name a tenant once, got {tenants}; merge them")

    def check_tenants(self, tenants: int) -> None:
        """Checks that every tenant with a rule of its own is one of the scenario's.

        Raises:
            InputError: it is not.
        """
        named = {*self.silver, *self.bronze, *(quota.tenant for quota in self.quotas)}
        if foreign := sorted(tenant for tenant in named if not 0 <= tenant < tenants):
            raise InputError(
                f"gateway rules: tenants must be 0 to {tenants - 1}, got {foreign}; raise load.tenants of the scenario"
            )


def rules_data(rules: GatewayRules) -> dict[str, Any]:
    """Returns rules as JSON has them."""
    return asdict(rules)


def parse_rules(data: Mapping[str, Any]) -> GatewayRules:
    """Reads rules back.

    Raises:
        InputError: a value breaks a rule.
        TypeError: a name is unknown.
    """
    lists = {name: tuple(data[name]) for name in ("silver", "bronze") if name in data}
    quotas = tuple(Quota(**quota) for quota in data.get("quotas", ()))
    return GatewayRules(**{**data, **lists, "quotas": quotas})
