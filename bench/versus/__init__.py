"""`run_bench.py versus`: this harness beside what people use, on the same network, alternating in one process."""
