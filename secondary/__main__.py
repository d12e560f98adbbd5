"""`python -m secondary`: the same as `smtpnic-secondary`."""

import sys

from secondary.cli import main

sys.exit(main())
