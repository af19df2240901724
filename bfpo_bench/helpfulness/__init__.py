"""AlpacaEval 2: how helpful a model is against a reference model, by a named annotator."""
