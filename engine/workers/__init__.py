"""Tracking and nothing else: detection cut into tiles, linking, and the processes that run them.

Knows pixels, features and particles; no sockets and no files.
"""
