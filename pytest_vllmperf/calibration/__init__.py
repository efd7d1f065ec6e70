"""Calibrated quantization: prompts of one's own through llm-compressor to a checkpoint that vLLM loads."""
