"""The live plant: the running pipeline behind the same few actions and metrics as the simulated one."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from typing import TYPE_CHECKING

from live_adapters.passing import Passing
from live_adapters.pipeline.releases.pricingclient import PricingClient
from live_adapters.session import Session
from sentra_sim.control.plant import (
    Action,
    Burden,
    Heal,
    Kill,
    Partition,
    Pause,
    Restart,
    Resume,
    SetReplicas,
    SetSpeed,
    SetWeights,
    SetWorkers,
    Slow,
    Start,
    Stop,
)
from sentra_sim.errors import PlantError

if TYPE_CHECKING:  # the faults act through this plant: importing them here would go round in a circle
    from live_adapters.chaos.lookout import Lookout


class LivePlant:
    """A session's processes under somebody's control; seen through the hop logs, or by somebody who also asks the brokers."""

    def __init__(self, session: Session, eyes: Lookout | Passing) -> None:
        self._session = session
        self._eyes = eyes

    def metrics(self, window_s: float) -> dict[str, float]:
        """Returns rates over the last `window_s` seconds, lag and age as they are; what did not answer is missing."""
        if isinstance(self._eyes, Passing):
            return self._eyes.metrics(window_s) | {"workers": float(len(self._session.workers()))}
        look = self._eyes.look(window_s)
        shown = {field.name: getattr(look, field.name) for field in fields(look) if field.name != "at_s"}
        return {name: float(value) for name, value in shown.items() if value is not None}

    def apply(self, action: Action) -> None:
        """Does one action to the pipeline or the stack, and returns when it is done.

        Raises:
            InputError: no such process, or not so many workers.
            PlantError: it does not come back, pricing refuses the weights, or no proxy stands before the process.
        """
        match action:
            case Kill(process):
                self._session.kill(process)
            case Start(process):
                self._session.start_again(process)
            case Restart(process):
                self._session.restart(process)
            case Pause(process):
                self._session.pause(process)
            case Resume(process):
                self._session.resume(process)
            case Partition(process, peers, clients):
                self._session.partition(process, peers=peers, clients=clients)
            case Slow():
                self._session.slow(action)
            case Heal(process):
                self._session.heal(process)
            case SetWorkers(count):
                self._session.set_workers(count)
            case SetWeights():
                asyncio.run(self._set_weights(action))
            case Stop(process):
                raise PlantError(
                    f"plant: must be an action on a real pipeline, got Stop of {process}; "
                    "sentra chaos --rolling-restart lets real processes end in order"
                )
            case Burden() | SetSpeed() | SetReplicas():
                raise PlantError(
                    f"plant: must be an action on a real pipeline, got {type(action).__name__}; plant a release with the defect"
                )

    async def _set_weights(self, action: SetWeights) -> None:
        client = await PricingClient.open(self._session.config.host, self._session.config.pricing_port)
        try:
            await client.set_weights(action.weights)
        finally:
            client.close()
