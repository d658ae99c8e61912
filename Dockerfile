# consul-redis-agent as an image: its packages from the hashed lock, its own wheel, and nothing that built them.
#
#   docker build -t consul-redis-agent .
#   docker run -d --network host --read-only --tmpfs /run/consul-redis-agent:uid=10001,mode=0700 \
#       -v consul-redis-agent:/var/lib/consul-redis-agent \
#       -v /etc/consul-redis-agent:/etc/consul-redis-agent:ro consul-redis-agent run --config /etc/consul-redis-agent/consul-redis-agent.toml
#
# With its own network, [consul] url and [[redis]] url name the other containers. `docker exec` runs the other commands.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
WORKDIR /build
# The tools that make the wheel come from a hashed lock, too; they stay in this stage.
COPY tests/requirements.lock build.lock
RUN python -m pip install --only-binary :all: --require-hashes -r build.lock
COPY requirements.lock .
RUN python -m venv /opt/consul-redis-agent \
    && /opt/consul-redis-agent/bin/python -m pip install --only-binary :all: --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY consul_redis_agent consul_redis_agent
RUN python -m pip wheel --no-deps --no-build-isolation --no-index -w wheel . \
    && /opt/consul-redis-agent/bin/python -m pip install --no-deps --no-index wheel/*.whl \
    && /opt/consul-redis-agent/bin/python -m pip uninstall -y pip

FROM python:3.13-slim
COPY --from=build /opt/consul-redis-agent /opt/consul-redis-agent
# A number, so that an orchestrator can see that it is not root; the folder of the status socket is its own.
RUN install -d -o 10001 -g 10001 -m 0700 /run/consul-redis-agent /var/lib/consul-redis-agent
ENV PATH=/opt/consul-redis-agent/bin:$PATH RUNTIME_DIRECTORY=/run/consul-redis-agent PYTHONDONTWRITEBYTECODE=1 \
    STATE_DIRECTORY=/var/lib/consul-redis-agent
USER 10001:10001
STOPSIGNAL SIGTERM
# Healthy means that decisions are being finished: not that Redis, Sentinel or Consul are well, which no restart mends.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s CMD ["python", "-c", "from pathlib import Path; from consul_redis_agent.tell.server import fetch; print(fetch(Path('/run/consul-redis-agent/status.sock'), '/healthz', 2).decode())"]
ENTRYPOINT ["consul-redis-agent"]
CMD ["run"]
