"""Publishing: from a decision to the next step at Consul, and taking it."""
