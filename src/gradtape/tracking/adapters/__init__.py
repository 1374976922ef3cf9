"""Trackers for training frameworks, each imported only where its framework is installed."""
