"""The simulated plant: an engine's run behind the same few actions and metrics as the live pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sentra_sim.control.plant import (
    KEEP_S,
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
    check_window,
)
from sentra_sim.control.recent import Recent
from sentra_sim.control.shown import Shown, scalable_stores
from sentra_sim.engine import Change, Operation, Plan, Simulation
from sentra_sim.engine.facts import has_releases
from sentra_sim.errors import PlantError
from sentra_sim.scenario import ConsumerGroup, Log, Pool, Scenario, only

STABLE = "stable"


class SimulatedPlant:
    """An engine's run under somebody's control. It plays on to the moment of each look and each action.

    Args:
        simulation: of the plan, at its start.
        plan: what it plays.
        clock: the time that it is to be at, s since the load's start.
        defects: by release, how many times the demand of which station it takes; what is not named is like stable. A weight of
            theirs is played as the mean of the demands, if no pool of the scenario has releases.
    """

    def __init__(
        self,
        simulation: Simulation,
        plan: Plan,
        clock: Callable[[], float],
        *,
        defects: Mapping[str, tuple[str, float]] | None = None,
    ) -> None:
        self._simulation, self._scenario, self._clock = simulation, plan.scenario, clock
        self._defects = defects
        self._recent = Recent(plan.offered.intended_s, KEEP_S)
        self._shown = Shown(plan.scenario)
        group = only(plan.scenario, ConsumerGroup)[1]
        self._workers = float(group.replicas)
        self._partitions = float(only(plan.scenario, Log)[1].partitions)
        self._replicas = {name: float(store.replicas) for name, store in scalable_stores(plan.scenario).items()}

    def metrics(self, window_s: float) -> dict[str, float]:
        """Returns what passed in the last `window_s` seconds, since the load's start at the longest.

        Raises:
            PlantError: the window is none, or longer than is kept.
        """
        check_window(window_s)
        self._simulation.advance(self._clock())
        view = self._simulation.view()
        end_s = view.now_s
        start_s = max(0.0, end_s - window_s)
        passed, shown = self._recent.look(view, start_s), self._shown
        found = shown.lag(passed, end_s) | {"workers": self._workers, "partitions": self._partitions}
        found |= {f"{name}.replicas": count for name, count in self._replicas.items()} | shown.backlogs(passed)
        if end_s > start_s:
            found |= shown.rates(passed, self._recent.dropped(start_s), start_s, end_s) | shown.times(
                passed, start_s, end_s
            )
            found |= shown.by_lane(passed, start_s, end_s) | shown.cpu(view.cpu_s, start_s, end_s)
        return found

    def apply(self, action: Action) -> None:
        """Does one action to the simulation, at the clock's time.

        Raises:
            InputError: the scenario has not what the action is about.
            PlantError: a simulation has no such action.
        """
        now_s = self._clock()
        changes = changes_of(action, now_s, self._scenario, defects=self._defects)
        self._simulation.advance(now_s)
        for change in changes:
            self._simulation.apply(change)
        if isinstance(action, SetWorkers):
            self._workers = float(action.count)
        elif isinstance(action, SetReplicas):
            self._replicas[action.store] = float(action.count)


def changes_of(
    action: Action, at_s: float, scenario: Scenario, *, defects: Mapping[str, tuple[str, float]] | None = None
) -> list[Change]:
    """Returns the engine's changes for an action.

    Raises:
        PlantError: a simulation has no such action.

    >>> from sentra_sim.scenario import load_scenario
    >>> changes_of(Burden("pricing", 4.0), 30.0, load_scenario("data/scenarios/sentra.yaml"))
    [Change(at_s=30.0, operation='demand', subject='pricing', value=4.0)]
    """
    if isinstance(action, SetWeights) and not has_releases(scenario) and defects is not None:
        return _mixed(action.weights, defects, at_s)
    return [Change(at_s, operation, subject, value) for operation, subject, value in _rows(action, scenario)]


def _rows(action: Action, scenario: Scenario) -> Sequence[tuple[Operation, str, float]]:  # noqa: PLR0911, PLR0912 - one branch an action
    """Returns operation, subject and value of the changes that an action is."""
    match action:
        case Kill(process):
            return [("kill", process, 0.0)]
        case Start(process):
            return [("start", process, 0.0)]
        case Restart(process):
            return [("restart", process, 0.0)]
        case Stop(process):
            return [("stop", process, 0.0)]
        case Pause(process):
            return [("pause", process, 0.0)]
        case Resume(process):
            return [("resume", process, 0.0)]
        case Partition(process, peers, clients):
            return _partition(process, peers=peers, clients=clients)
        case Slow(process, latency_s):
            return [("slow", process, latency_s)]
        case Heal(process):
            return [("heal", process, 0.0)]
        case SetWorkers(count):
            return [("replicas", only(scenario, ConsumerGroup)[0], float(count))]
        case SetReplicas(store, count):
            return [("store-replicas", store, float(count))]
        case SetWeights(weights):
            return _weights(weights, scenario)
        case Burden(station, factor):
            return [("demand", station, factor)]
        case SetSpeed(host, speed):
            return [("speed", host, speed)]


def _partition(process: str, *, peers: bool, clients: bool) -> list[tuple[Operation, str, float]]:
    if clients or not peers:
        raise PlantError(
            f"plant: a simulated partition must be of a broker and its peers, got one of {process} and its clients; "
            "set peers alone, or pause it"
        )
    return [("partition", process, 0.0)]


def _weights(weights: Mapping[str, float], scenario: Scenario) -> list[tuple[Operation, str, float]]:
    """Returns the weights of all releases of the pool that has some, stable's apart, those without any first."""
    pools = [(name, pool) for name, pool in scenario.stations.items() if isinstance(pool, Pool) and pool.releases]
    name, releases = (pools[0][0], pools[0][1].releases) if pools else ("", {})
    for release in weights:
        if release != STABLE and release not in releases:
            valid = ", ".join([STABLE, *releases])
            raise PlantError(f"plant: weights must name releases of the plant, got {release!r}; valid names: {valid}")
    found = {release: weights.get(release, 0.0) for release in releases}
    rows = sorted(found.items(), key=lambda row: row[1])
    return [("weight", f"{name}/{release}", weight) for release, weight in rows]


def _mixed(weights: Mapping[str, float], defects: Mapping[str, tuple[str, float]], at_s: float) -> list[Change]:
    """Plays releases as the mean demand of the stations that they change."""
    factors = {station: 1.0 for station, _ in defects.values()}
    for release, weight in weights.items():
        if release == STABLE:
            continue
        if release not in defects:
            raise PlantError(
                f"plant: weights must name releases of the plant, got {release!r}; valid names: {', '.join(defects)}"
            )
        station, factor = defects[release]
        factors[station] += weight * (factor - 1.0)
    return [Change(at_s, "demand", station, factor) for station, factor in factors.items()]
