"""The paper in miniature as a study: every method and its controls, over regimes and seeds."""
