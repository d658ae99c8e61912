"""Keeps Consul DNS true about which Redis node is the master."""
