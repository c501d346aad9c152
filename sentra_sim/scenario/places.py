"""Where stations run: hosts, what they have in common with processes, and who else is there."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from sentra_sim.scenario.blocks import LATER, Delay, Model


class Pause(Model):
    """Stretches of `length` in which nothing of a process, or of a host, gets a core: vacations, not longer service times.

    They hit everything in flight. `gap` runs from the end of one to the start of the next, the first one's from the start of the
    run. With `every_events` a pause of a process starts instead with each job by which its jobs have carried so many events since
    the last: a collector that stops the world when the heap is full. What a pause costs in CPU is a `background` job.
    """

    gap: Delay = Delay()
    length: Delay
    every_events: NonNegativeInt = 0

    @model_validator(mode="after")
    def _by_time_or_by_events(self) -> Self:
        never_zero = self.gap.noise.quantiles[-1:] != (0.0,)
        if (self.gap.mean_s > 0.0 and never_zero) == (self.every_events > 0):
            raise ValueError("must set one of gap (with a mean above 0) and every_events")
        return self


class Warmup(Model):
    """A process whose code is compiled while it runs (JIT): its demands are greater at first.

    A demand is multiplied by `1 + factor * exp(-done / cpu_s)`, where `done` is the sum of the demands, so far and without this
    factor, since the process started: at the start of the run, or by a change.
    """

    factor: NonNegativeFloat
    cpu_s: PositiveFloat


class Neighbour(Model):
    """Threads of somebody else on the host that use all the CPU they get, as any thread of normal priority; no account shows it.

    They run for `busy`, then not for `quiet`, and begin quiet; without `quiet` they always run. With `active: false` they wait to be
    switched on by a change.
    """

    threads: PositiveInt = 1
    busy: Delay = Delay()
    quiet: Delay = Delay()
    active: bool = True

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.busy.mean_s > 0.0) != (self.quiet.mean_s > 0.0):
            raise ValueError("must set both busy and quiet, with means above 0, or neither")
        return self


class Host(Model):
    """Cores shared by the stations placed on the host.

    `ps` is egalitarian processor sharing, each job on at most one core. `fifo-slice` serves one run queue in order of
    arrival, a job going back to its end after `slice_s`. A demand takes 1/`speed` of its time.
    In `pauses` all cores stop at once (a stalled virtual machine); `neighbour` competes for them. What crosses from the host to
    another one, or back, is `network_s` longer on its way and gets lost with probability `loss`; it is then sent again after
    TCP's retransmission timeout, 0.2 s and twice as long with each further loss. `price_per_core_hour`, in any currency, is for
    the KPIs of cost; 0 stands for a price that is not known.
    """

    cores: PositiveInt = 2
    discipline: Literal["ps", "fifo-slice"] = "fifo-slice"
    slice_s: PositiveFloat = 0.003
    speed: PositiveFloat = 1.0
    pauses: tuple[Pause, ...] = Field(default=(), json_schema_extra=LATER)
    neighbour: Neighbour | None = Field(default=None, json_schema_extra=LATER)
    network_s: NonNegativeFloat = Field(default=0.0, json_schema_extra=LATER)
    loss: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(default=0.0, json_schema_extra=LATER)
    price_per_core_hour: NonNegativeFloat = Field(default=0.0, json_schema_extra=LATER)

    @model_validator(mode="after")
    def _pauses_by_time(self) -> Self:
        if any(pause.every_events for pause in self.pauses):
            raise ValueError("must have pauses with a gap; every_events is for those of a station")
        return self
