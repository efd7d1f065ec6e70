"""The load generator: an HTTP client that keeps a schedule and is never the bottleneck. Needs the extra `serve`."""
