"""What others were promised: `events.proto`, the topics, the binary layouts; whether the code still keeps it."""
