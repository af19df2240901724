"""Training by recipe: SFT, pairwise preference losses, on-policy rewards; see docs/training.md."""
