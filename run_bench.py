"""Sampler Bench from a checkout: `python run_bench.py --help`."""

from bench.cli.entry import main

if __name__ == "__main__":
    main()
