"""``virtproof`` and ``python -m virtproof``."""

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from virtproof.cli.app import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
