"""PostgreSQL, Redis and what lies downstream of the outbox, each behind a breaker; what the worker does while one is away."""
