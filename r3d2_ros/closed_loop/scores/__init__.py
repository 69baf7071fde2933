"""Scores of a run, all from its log and the scene's map and labels. `summary.summarise` puts them together."""
