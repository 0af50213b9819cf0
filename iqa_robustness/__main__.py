"""`python -m iqa_robustness` is the console script."""

import sys

from iqa_robustness.cli import main

sys.exit(main())
