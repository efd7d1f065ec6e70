"""Engines brought together with devices: leases, starts, driving a workload, and the Measurement made of it."""
