# Every target sets up what it needs first (tests/setup), inside this folder; a second run downloads nothing.
export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.servers/bin:$(PATH):/usr/sbin:/sbin

.PHONY: demo test lint setup

demo: setup
	@consul-redis-agent demo

test: setup
	@pytest

lint: setup
	@ruff check
	@ruff format --check
	@mypy --strict consul_redis_agent tests

setup:
	@tests/setup
