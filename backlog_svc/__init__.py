"""Backlogs: who wants to watch, is watching, has watched or has given up on which film."""
