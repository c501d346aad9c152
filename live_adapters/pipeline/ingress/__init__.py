"""From a producer's request to frames in Kafka: what is admitted, how it is batched, sent and answered; the gateway's control."""
