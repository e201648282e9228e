"""`python -m trainer`."""

import sys

try:
    from trainer.cli import main
except KeyboardInterrupt:  # Ctrl-C while it is read
    print("interrupted before anything was begun", file=sys.stderr)
    sys.exit(130)

main()
