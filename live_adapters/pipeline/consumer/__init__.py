"""The worker's side of Kafka: polls of whole batches, and what a poll comes to."""
