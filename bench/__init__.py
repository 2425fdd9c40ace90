"""Measurements of a running node: see README.md in this folder. No part of the distribution."""
