"""`python -m r3d2_ros.cli` is `r3d2`."""

import sys

from r3d2_ros.cli.main import main

sys.exit(main())
