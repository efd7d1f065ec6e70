"""`vllmperf doctor`: what this machine has, what is missing, and what a first test should say."""
