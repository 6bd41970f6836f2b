"""Hugging_face."""
