"""What the pipeline tells of itself while it runs: metrics, traces, pauses, logs. docs/observability.md lists it all."""
