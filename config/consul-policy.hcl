# Rules of Consul's ACL policy for consul-redis-agent: the least that it needs, the same on every host.
#
#   consul acl policy create -name consul-redis-agent -rules @consul-policy.hcl
#   consul acl token create -description 'consul-redis-agent' -policy-name consul-redis-agent
#
# A token for each host. To replace one: make the new one, put it into consul.token_file, then delete the old one.
# Nothing of `acl` is needed to see whether the own token still exists.
#
# The names are those of service.name and replica.name; in the modes "check" and "tags" the second one is not needed.
# With several [[redis]] that override them, each name needs its block.

# To register the own entries, to see those of the other nodes, and to put down an older claim in one transaction.
service "redis" {
  policy = "write"
}

service "redis-replica" {
  policy = "write"
}

# To see whether the hosts of the other entries are alive.
node_prefix "" {
  policy = "read"
}

# Optional. With it the commands learn the domain of Consul's DNS and dns_config.only_passing, and the agent asks its Consul agent for the node's name, and for an address to publish where neither
# Sentinel nor the configuration gives one. Without it the very first publication takes one more write: an entry that
# does not pass yet, which tells the name.
#agent_prefix "" {
#  policy = "read"
#}
