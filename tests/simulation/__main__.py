"""``python -m tests.simulation --seed N``: run one seed, and tell its story."""

from __future__ import annotations

import argparse
import sys

from tests.simulation.world import run


def main() -> int:
    """Run the seeds that were asked for; 1 where something was wrong in one."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the seed to run, or the first of many")
    parser.add_argument("--count", type=int, default=1, help="how many seeds, one after another")
    parser.add_argument("--quiet", action="store_true", help="tell the last line of each alone")
    asked = parser.parse_args()
    wrong = 0
    for seed in range(asked.seed, asked.seed + asked.count):
        told = run(seed)
        wrong += bool(told.wrong)
        lines = told.story[-1:] if asked.quiet else told.story
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        for what in told.wrong:
            sys.stdout.write(f"seed {seed}: {what}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
