"""``virtproof`` and ``python -m virtproof``."""

import gc
import sys

gc.set_threshold(20_000)  # imports leave no garbage; to look for it takes a tenth of the time that a command needs

from virtproof.cli.app import run  # noqa: E402


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
