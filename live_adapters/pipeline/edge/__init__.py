"""The fanout edge: who may read what, in which form, and what a reader missed."""
