"""Speaking with Consul: HTTP, the few calls that are used, and the form of an entry."""
