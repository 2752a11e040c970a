"""Compare the speed of twofold with its peers, and with the limits of the machine. `python -m benchmarks --help` says how."""
