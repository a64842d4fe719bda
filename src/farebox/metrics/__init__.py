"""Metrics: what each process counts, by documented names, in the text format of Prometheus.

A process answers /metrics on a socket file of its own in the data directory; the supervisor asks all of them and
answers for the machine at `metrics.listen`. No metrics library: what is read are the integers that the parts keep.
"""
