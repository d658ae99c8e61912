# Redis on three Nomad clients, each with the agent beside it as a sidecar. Consul's agent runs on every client, as Nomad
# wants it anyway. Sentinels are found through Redis, wherever they run.
#
#   nomad var put nomad/jobs/redis consul_token=... redis_password=...
#   nomad job run -var image=registry.example.com/consul-redis-agent:0.1.0 config/nomad/consul-redis-agent.nomad.hcl
#
# The host volume "redis" holds the data and redis.conf. That file makes a node master or replica, and Redis and Sentinel
# rewrite it, so it must outlive the allocation. The password stands in it too (requirepass or an ACL, and masterauth).

variable "image" {
  type        = string
  description = "The image of the Dockerfile, in a registry of your own; by digest is best."
}

job "redis" {
  datacenters = ["dc1"]
  type        = "service"

  group "redis" {
    count = 3

    constraint {
      distinct_hosts = true
    }

    # One after another, and only while the one before is well. Move the master first: consul-redis-agent failover
    update {
      max_parallel     = 1
      health_check     = "checks"
      min_healthy_time = "30s"
    }

    # A node is bound to its data: it is started again in its place, not elsewhere.
    reschedule {
      attempts  = 0
      unlimited = false
    }

    restart {
      interval = "1m"
      attempts = 10
      delay    = "1s"
      mode     = "delay"
    }

    network {
      mode = "host"
      port "redis" {
        static = 6379
      }
      port "http" {
        static = 9618
      }
    }

    volume "redis" {
      type   = "host"
      source = "redis"
    }

    # The agent's state: of which group the node is.
    ephemeral_disk {
      sticky = true
      size   = 110
    }

    task "redis" {
      driver = "docker"
      leader = true # at a stop Redis goes first, and the agent can still tell Consul

      config {
        image           = "redis:8.2.3"
        network_mode    = "host"
        args            = ["redis-server", "/data/redis.conf"]
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]
      }
      user = "999:1000"

      volume_mount {
        volume      = "redis"
        destination = "/data"
      }

      kill_timeout = "60s"

      resources {
        cpu    = 500
        memory = 512
      }
    }

    task "agent" {
      driver = "docker"

      lifecycle {
        hook    = "prestart" # it sees Redis come and go
        sidecar = true
      }

      config {
        image           = var.image
        network_mode    = "host"
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]
        mount {
          type   = "tmpfs"
          target = "/run/consul-redis-agent"
          tmpfs_options {
            mode = 1023 # 01777, in decimal; the socket in it is open to the agent's user alone
          }
        }
      }

      env {
        CRA_REDIS_URL           = "redis://127.0.0.1:${NOMAD_PORT_redis}"
        CRA_REDIS_PASSWORD_FILE = "${NOMAD_SECRETS_DIR}/redis.password"
        CRA_CONSUL_URL          = "http://127.0.0.1:8500"
        CRA_CONSUL_TOKEN_FILE   = "${NOMAD_SECRETS_DIR}/consul.token"
        CRA_HTTP_LISTEN         = "${NOMAD_ADDR_http}"
        STATE_DIRECTORY         = "${NOMAD_ALLOC_DIR}/data"
      }

      # Read again when they change, so nothing has to be restarted.
      template {
        destination = "${NOMAD_SECRETS_DIR}/consul.token"
        data        = "{{ with nomadVar \"nomad/jobs/redis\" }}{{ .consul_token }}{{ end }}"
        change_mode = "noop"
        perms       = "0400"
        uid         = 10001
        gid         = 10001
      }

      template {
        destination = "${NOMAD_SECRETS_DIR}/redis.password"
        data        = "{{ with nomadVar \"nomad/jobs/redis\" }}{{ .redis_password }}{{ end }}"
        change_mode = "noop"
        perms       = "0400"
        uid         = 10001
        gid         = 10001
      }

      # The agent itself: metrics, and whether it finishes decisions. The entry of Redis is the agent's work.
      service {
        name = "consul-redis-agent"
        port = "http"

        check {
          type     = "http"
          path     = "/healthz"
          interval = "10s"
          timeout  = "2s"
        }
      }

      resources {
        cpu        = 50
        memory     = 64
        memory_max = 96
      }
    }
  }
}
