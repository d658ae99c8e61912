"""Telling people and machines: log, metrics, pages, systemd. Nothing here is needed to decide or to publish."""
