"""Control files that act on both plants, unchanged, and the releases and the scenario that they are about."""

from typing import Any

from sentra_sim.scenario import Scenario, parse_scenario, scenario_data, with_load

# As the local stack's brokers are set: they miss a consumer within three seconds.
GROUP = {"heartbeat_s": 0.5, "session_timeout_s": 3.0, "join_s": 0.1, "ready_s": 1.5}

ROLLOUT = """
rollout:
  canary: late
  start_s: 4
  steps: [{weight: 0.5, hold_s: 45}]
  gates: [{metric: e2e_p95_s, max: 1.5}]
  window_s: 3
  look_every_s: 2
"""

# While the late release is in service a worker takes 400 events a second, and 600 come.
AUTOSCALE = """
autoscaler: worker.yaml
faults:
  timetable: [{at_s: 3, action: weights, weights: {stable: 0.0, late: 1.0}, for_s: 29}]
"""
SCALED_OBJECT = """
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: worker}
spec:
  scaleTargetRef: {name: worker}
  pollingInterval: 5
  minReplicaCount: 1
  maxReplicaCount: 2
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown: {stabilizationWindowSeconds: 0}
  triggers:
    - type: kafka
      metadata: {bootstrapServers: "kafka:9092", consumerGroup: worker, topic: events, lagThreshold: "1500"}
"""

FAULTS = "faults: {timetable: [{at_s: 3, action: kill, process: worker-1, for_s: 4}]}\n"


def release(wait_s: float) -> str:
    """Returns the manifest of a release whose answers wait."""
    change = f"change: {{kind: lag, wait_s: {wait_s}}}"
    return f"schema_version: 1\nname: late\nversion: 1.0.0\ndescription: every request waits much too long\n{change}\n"


def pipeline(sentra: Scenario, *, rate_eps: float, wait_s: float, **worker: Any) -> Scenario:
    """Returns Sentra's pipeline with the release `late`, in small frames, under a small load."""
    data = scenario_data(with_load(sentra, rate_eps=rate_eps))
    data["stations"]["gateway"] |= {"max_events": 20, "linger_s": 0.1}
    data["stations"]["worker"] |= GROUP | worker
    data["stations"]["pricing"]["releases"] = {"late": {"wait_s": wait_s}}
    return parse_scenario(data)
