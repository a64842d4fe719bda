"""The data plane: takes calls, prices, admits, forwards, charges, records, answers. A worker is made in worker.py."""
