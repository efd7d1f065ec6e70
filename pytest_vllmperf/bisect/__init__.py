"""The search for the first version of vLLM in which a test regresses."""
