# Every target sets up what it needs first (tests/setup), inside this folder; a second run downloads nothing.
# Each takes another Consul than the one on PATH or the one that was set up: make test CONSUL=/path/to/consul
export PATH := $(CURDIR)/.venv/bin:$(PATH):$(CURDIR)/.servers/bin:/usr/sbin:/sbin

.PHONY: demo test chaos matrix soak bench lint audit lowest fuzz setup deb image

demo: setup
	@consul-redis-agent demo

test:
	@tests/setup older audit deploy packages judges
	@tests/run

# Every fault on real servers, and random mixes of them: make chaos RUNS=3 SEED=7 FAULTS="host lost" JSON=figures.json
# in all service modes, with a fence and without, by turns, so each fault in each kind of fleet in six runs, or in one: MODE=tags FENCE=on
# on other servers, as a matrix takes them: SERVER=valkey-9.1.2, or a path
chaos: setup
	@CHAOS_RUNS=$(or $(RUNS),1) CHAOS_SEED=$(SEED) CHAOS_FAULTS="$(FAULTS)" CHAOS_MODE=$(MODE) CHAOS_FENCE=$(FENCE) CHAOS_SERVER=$(SERVER) CHAOS_JSON=$(or $(JSON),build/chaos.json) \
		pytest tests/chaos

# The main path on every version of Redis, Valkey and Consul that can be had, and on mixed ones, two minutes a row:
# make matrix ROWS="valkey fence, redis-6.2.5" SERVER=/path/to/redis-server CONSUL=/path/to/consul
# Rows of an earlier run stay in the table, so that one after another may be run.
matrix:
	@tests/setup matrix
	@MATRIX="$(or $(ROWS),all)" SERVER="$(SERVER)" MATRIX_JSON=$(or $(JSON),build/matrix.json) pytest tests/matrix

# One fleet for a long time, random faults one after another; what leaks shows, as a table, JSON and a picture:
# make soak MINUTES=60 SEED=7 FAULTS="host lost" MODE=tags FENCE=on SERVER=valkey-9.1.2 PICTURE=docs/pictures/soak.svg
soak:
	@tests/setup bench
	@python -m tests.soak --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED)) --faults "$(FAULTS)" --mode $(or $(MODE),services) \
		$(if $(filter on,$(FENCE)),--fence) --server $(or $(SERVER),redis) --json $(or $(JSON),build/soak.json) --picture $(or $(PICTURE),build/soak.svg)

# Publishers side by side, as tables, JSON and pictures: make bench ROUNDS=5 ONLY=failovers,writes,cost,start PICTURES=docs/pictures
bench: ONLY ?= failovers,writes,cost,start
bench:
	@tests/setup bench
	@python -m tests.bench --rounds $(or $(ROUNDS),20) --only $(ONLY) \
		--json $(or $(JSON),build/bench.json) --pictures $(or $(PICTURES),build)

lint: setup
	@ruff check
	@ruff format --check
	@mypy --strict consul_redis_agent tests
	@lint-imports

# Known holes in the packages that users get, as far as the package registry tells
audit:
	@tests/setup audit
	@python -m tests.audit

# New input of every kind from outside, for SECONDS: make fuzz SECONDS=600
fuzz: setup
	@python -m tests.fuzz $(or $(SECONDS),60)

# The unit tests on the oldest versions of our dependencies, two minutes
lowest: setup
	@tests/lowest

# The Debian package for this machine's release and architecture, in build/deb; and the image, with Docker or what takes its place.
deb: setup
	@config/debian/build

image:
	@$(or $(ENGINE),docker) build -t consul-redis-agent .

setup:
	@tests/setup
