"""The data plane: takes calls, prices, admits, forwards, charges, records, answers. worker.py puts a worker together."""
