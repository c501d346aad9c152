"""Eight stations of four servers in a row, in other simulators: `python rivals.py simpy|ciw|happysim CUSTOMERS SEED`.

A script on its own, as happysim needs a newer Python than the project: whatever interpreter has the package runs it. Prints one JSON
object: CPU seconds of the run, customers served, their mean time in the system in seconds.
"""

import json
import random
import sys
from collections.abc import Callable
from time import process_time

STATIONS, SERVERS = 8, 4
INTERVAL_S, SERVICE_S = 1 / 320, 0.01  # arrivals at equal intervals, exponential service: G/M/4 at 80 % load


def in_simpy(customers: int, seed: int) -> tuple[float, list[float]]:
    import simpy

    env, rng, times = simpy.Environment(), random.Random(seed), []
    stations = [simpy.Resource(env, SERVERS) for _ in range(STATIONS)]

    def visit():
        start = env.now
        for station in stations:
            with station.request() as turn:
                yield turn
                yield env.timeout(rng.expovariate(1 / SERVICE_S))
        times.append(env.now - start)

    def arrive():
        for _ in range(customers):
            env.process(visit())
            yield env.timeout(INTERVAL_S)

    env.process(arrive())
    return timed(env.run), times


def in_ciw(customers: int, seed: int) -> tuple[float, list[float]]:
    import ciw

    ciw.seed(seed)
    arrivals = [ciw.dists.Deterministic(INTERVAL_S)] + [None] * (STATIONS - 1)
    routing = [[float(to == at + 1) for to in range(STATIONS)] for at in range(STATIONS)]
    network = ciw.create_network(
        arrival_distributions=arrivals,
        service_distributions=[ciw.dists.Exponential(1 / SERVICE_S)] * STATIONS,
        routing=routing,
        number_of_servers=[SERVERS] * STATIONS,
    )
    simulation = ciw.Simulation(network)
    cpu_s = timed(lambda: simulation.simulate_until_max_customers(customers, method="Finish"))
    spans: dict[int, list[float]] = {}
    for record in simulation.get_all_records():
        spans.setdefault(record.id_number, []).extend([record.arrival_date, record.exit_date])
    return cpu_s, [max(span) - min(span) for span in spans.values() if len(span) == 2 * STATIONS]


def in_happysim(customers: int, seed: int) -> tuple[float, list[float]]:
    import happysimulator as happy
    from happysimulator.distributions import ExponentialLatency

    random.seed(seed)
    sink = after = happy.Sink()
    stations = []
    for number in range(STATIONS, 0, -1):
        after = happy.Server(
            f"station-{number}", concurrency=SERVERS, service_time=ExponentialLatency(SERVICE_S), downstream=after
        )
        stations.append(after)
    load_s = customers * INTERVAL_S
    source = happy.Source.constant(rate=1 / INTERVAL_S, target=after, stop_after=load_s)
    simulation = happy.Simulation(
        sources=[source], entities=[*stations, sink], end_time=happy.Instant.from_seconds(load_s + 10.0)
    )
    return timed(simulation.run), list(sink.latencies_s)


def timed(work: Callable[[], object]) -> float:
    start = process_time()
    work()
    return process_time() - start


if __name__ == "__main__":
    played = {"simpy": in_simpy, "ciw": in_ciw, "happysim": in_happysim}[sys.argv[1]]
    spent_s, sojourns_s = played(int(sys.argv[2]), int(sys.argv[3]))
    mean_s = sum(sojourns_s) / len(sojourns_s)
    print(json.dumps({"cpu_s": spent_s, "customers": len(sojourns_s), "mean_s": mean_s}))
