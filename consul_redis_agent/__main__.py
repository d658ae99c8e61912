"""``python -m consul_redis_agent``."""

import sys

from consul_redis_agent.cli import main

sys.exit(main())
