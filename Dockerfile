# consul-redis-agent as an image: its packages from the hashed lock, its own wheel, and nothing that built them.
#
#   docker build -t consul-redis-agent .
#   docker run -d --network host --read-only --tmpfs /run/consul-redis-agent:uid=10001,mode=0700 \
#       -v consul-redis-agent:/var/lib/consul-redis-agent \
#       -v /etc/consul-redis-agent:/etc/consul-redis-agent:ro consul-redis-agent run --config /etc/consul-redis-agent/consul-redis-agent.toml
#
# or with nothing but the environment, where each key has a name (CRA_SERVICE_NAME):
#
#   docker run -d --network host --read-only --tmpfs /run/consul-redis-agent:uid=10001,mode=0700 \
#       -v consul-redis-agent:/var/lib/consul-redis-agent -e CRA_REDIS_URL=redis://127.0.0.1:6380 consul-redis-agent
#
# With its own network, CRA_CONSUL_URL and CRA_REDIS_URL name the other containers. `docker exec` runs the other commands.
#
# The base is named here, and not by its digest, which changes with each of its security updates. To pin it, and to build the
# same image again:
#
#   docker build --build-arg BASE=python:3.13-slim@sha256:... -t consul-redis-agent .

ARG BASE=python:3.13-slim
FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
WORKDIR /build
# The tools that make the wheel and the bill of materials come from a hashed lock, too; they stay in this stage.
COPY tests/packages/requirements.lock build.lock
RUN python -m pip install --only-binary :all: --require-hashes -r build.lock
COPY requirements.lock .
RUN python -m venv /opt/consul-redis-agent \
    && /opt/consul-redis-agent/bin/python -m pip install --only-binary :all: --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY config/man config/man
COPY config/completion config/completion
COPY consul_redis_agent consul_redis_agent
RUN python -m pip wheel --no-deps --no-build-isolation --no-index -w wheel . \
    && /opt/consul-redis-agent/bin/python -m pip install --no-deps --no-index wheel/*.whl \
    && /opt/consul-redis-agent/bin/python -m pip uninstall -y setuptools pip
# What is in it, as CycloneDX. Of the base image, Python and the system, its own maker tells.
RUN python -m cyclonedx_py environment --pyproject pyproject.toml --output-reproducible --of JSON \
    -o /opt/consul-redis-agent/sbom.cdx.json /opt/consul-redis-agent/bin/python

FROM ${BASE}
LABEL org.opencontainers.image.title="consul-redis-agent" \
    org.opencontainers.image.description="Keeps Consul DNS true about which Redis node is the master" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/consul-redis-agent /opt/consul-redis-agent
# A number, so that an orchestrator can see that it is not root; the folder of the status socket is its own.
RUN install -d -o 10001 -g 10001 -m 0700 /run/consul-redis-agent /var/lib/consul-redis-agent
ENV PATH=/opt/consul-redis-agent/bin:$PATH RUNTIME_DIRECTORY=/run/consul-redis-agent PYTHONDONTWRITEBYTECODE=1 \
    STATE_DIRECTORY=/var/lib/consul-redis-agent
USER 10001:10001
STOPSIGNAL SIGTERM
# (Podman and Buildah keep the next line with --format docker.)
# Healthy means that decisions are being finished: not that Redis, Sentinel or Consul are well, which no restart mends.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s CMD ["python", "-c", "from pathlib import Path; from consul_redis_agent.tell.server import fetch; print(fetch(Path('/run/consul-redis-agent/status.sock'), '/healthz', 2).decode())"]
ENTRYPOINT ["consul-redis-agent"]
CMD ["run"]
