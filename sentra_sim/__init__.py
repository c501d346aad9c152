"""Sentra's digital-twin lab: simulate, calibrate and compare a streaming pipeline."""
